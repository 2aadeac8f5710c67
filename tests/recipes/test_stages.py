"""Stages by name, and recorded runs back into the workloads that they were."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.estimate.world import CPU, ROOT, recorded
from trackyard.errors import ConfigError
from trackyard.estimate.devices import DEVICES
from trackyard.recipes.stages import TRACKS, device_named, profile_path, rebuild, require_known
from trackyard.train.flops import step_flops


def test_a_mini_run_comes_back_with_its_lengths() -> None:
    for measured in recorded():
        work = rebuild(measured, ROOT, CPU)
        assert (work.track, work.stage, work.preset, work.world) == ("molmo2", measured.stage, "tiny", 1)
        assert work.tokens == measured.lengths.tokens
        assert work.lengths == "a plan"


def test_a_run_of_a_language_model_comes_back_with_its_batch_and_settings() -> None:
    measured = replace(
        recorded()[0],
        track="pile_ffn",
        stage="train",
        profile="",
        preset="pythia-1.4b",
        device="h100",
        engine={"precision": "bf16", "zero_stage": 1, "micro_batch": 16, "activation_checkpointing": "none"},
        lengths=replace(recorded()[0].lengths, tokens=131_072),
    )
    work = rebuild(measured, ROOT, DEVICES["h100"])
    assert (work.packs_per_step, work.tokens, work.autocast, work.engine.micro_batch) == (64, 131_072, False, 16)
    assert step_flops(work.useful) / work.tokens == pytest.approx(8.47e9, rel=0.002)


def test_every_stage_is_known_and_no_other() -> None:
    for track, stages in TRACKS.items():
        for stage in stages:
            require_known(track, stage)
    with pytest.raises(ConfigError, match="no stage 'stage1' of track 'pile_ffn'"):
        require_known("pile_ffn", "stage1")


def test_profiles_by_name_by_path_and_by_default() -> None:
    assert profile_path(ROOT, None) == ROOT / "params.yaml"
    assert profile_path(ROOT, "h100") == profile_path(ROOT, "profiles/h100.yaml") == ROOT / "profiles" / "h100.yaml"
    # A dot in a name is no ending.
    assert profile_path(ROOT, "pythia-1.4b-a100") == ROOT / "profiles" / "pythia-1.4b-a100.yaml"
    assert profile_path(ROOT, str(ROOT / "params.yaml")) == ROOT / "params.yaml"
    with pytest.raises(ConfigError, match="no profile 'none'"):
        profile_path(ROOT, "none")


def test_a_profile_names_its_device_or_none() -> None:
    assert device_named(ROOT / "profiles" / "h200.yaml") == "h200"
    assert device_named(ROOT / "profiles" / "seed.yaml") is None
