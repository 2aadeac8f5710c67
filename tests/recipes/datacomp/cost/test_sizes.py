"""TheWorld in numbers: the tables of theworld spec sections 2, 4, 5, 10 and 11."""

from __future__ import annotations

from typing import Any

import pytest

from tests.recipes.datacomp.cost.studies import profile
from trackyard.errors import ConfigError
from trackyard.estimate.calibration import calibrate
from trackyard.estimate.devices import DEVICES
from trackyard.estimate.forecast import STATE_BYTES, Machine, forecast
from trackyard.launch.sites import Partition, Site
from trackyard.models.theworld.parameters import WorldParameters
from trackyard.recipes.datacomp.cost.arithmetic import PRESETS
from trackyard.recipes.datacomp.cost.bases import GEMMA, PUBLISHED_SHAPE, sample_length
from trackyard.recipes.datacomp.cost.sizes import study_workload, workload
from trackyard.train.flops import step_flops

DEVICE = DEVICES["h200"]


@pytest.mark.parametrize(
    ("mode", "trained"),
    [
        ("spatial", 6_604_801),
        ("channel", 17_049_601),
        ("pooled4", 7_219_201),
        ("pooled8", 9_185_281),
        ("stats", 6_727_681),
    ],
)
def test_trainable_parameters_of_each_mode(mode: str, trained: int) -> None:
    work = workload(f"100k/{mode}", DEVICE)
    assert work.trained == trained
    assert work.parameters - trained == 4_300_079_472


@pytest.mark.parametrize("samples", PRESETS)
def test_steps_of_each_preset(samples: str) -> None:
    assert workload(samples, DEVICE).steps == PRESETS[samples].steps


def test_checkpoints_hold_what_is_trained_alone() -> None:
    """110 MB with the moments, where a whole Gemma would be 60 GB."""
    assert STATE_BYTES * workload(None, DEVICE).trained == 110_223_372


def test_lengths_and_arithmetic_of_the_modes() -> None:
    """performance spec section 3: T = 330 and 4,410; 56.8 TFLOP of the language model and about 5.5 of SigLIP.

    Attention of the global and the sliding layers is in ours.
    """
    channel, spatial = (workload(f"100k/{mode}", DEVICE) for mode in ("channel", "spatial"))
    assert (channel.tokens / 16, spatial.tokens / 16) == (330, 4_410)
    assert step_flops(spatial.useful) / 16 == pytest.approx(62.3e12, rel=0.08)


def test_the_spatial_mode_needs_the_memory_that_was_seen() -> None:
    """theworld spec section 17: 89.9 GB at micro-batch 2, nothing computed again, with stock attention."""
    site = Site(name="x", default_partition="p", partitions={"p": Partition(device="any", cores_per_node=8)})
    work = workload("100k/spatial", DEVICE).changed(micro_batch=2, activation_checkpointing="none")
    found = forecast(work, Machine(site=site, partition_name="p", device=DEVICE), calibrate(work, DEVICE, []))
    held = sum(item.bytes for item in found.memory if item.where == "device")
    assert 89.9e9 / 1.8 < held < 89.9e9 * 1.8


def test_presets_that_there_are_not() -> None:
    for wrong in ("1k", "100k/video"):
        with pytest.raises(ConfigError, match=f"no preset '{wrong}'"):
            workload(wrong, DEVICE)


def test_the_window_is_noted() -> None:
    assert any("963 of 4,096 world tokens (23.5%)" in note for note in workload("100k/spatial", DEVICE).notes)


def changed(**world: Any) -> Any:
    study = profile("theworld-100k")
    return study.model_copy(update={"world": WorldParameters.model_validate(world)})


def test_spatial_with_2048_is_an_error_of_the_configuration() -> None:
    assert sample_length(GEMMA, WorldParameters(), PUBLISHED_SHAPE) == 378
    with pytest.raises(ConfigError, match=r"mode spatial: samples of 4,410 tokens, world\.max_length=2,048"):
        study_workload(changed(mode="spatial"), DEVICE)
    assert study_workload(changed(mode="spatial", max_length=4_460), DEVICE).attended.length == 4_410
    assert any("raise it for this mode" in note for note in workload("100k/spatial", DEVICE).notes)


def test_a_profile_and_the_preset_of_its_size_are_the_same_training() -> None:
    for name in ("10k", "100k"):
        profiled, preset = study_workload(profile(f"theworld-{name}"), DEVICE), workload(name, DEVICE)
        assert (profiled.steps, profiled.trained, profiled.tokens) == (preset.steps, preset.trained, preset.tokens)
        assert step_flops(profiled.useful) == step_flops(preset.useful)
    assert study_workload(profile("theworld-full"), DEVICE).steps == PRESETS["full-alive"].steps


def test_an_unknown_language_model_has_no_size() -> None:
    study = profile("theworld-100k")
    other = study.gemma.model_copy(update={"id": "google/gemma-3-27b-it"})
    with pytest.raises(ConfigError, match=r"the size of google/gemma-3-27b-it is not known"):
        study_workload(study.model_copy(update={"gemma": other}), DEVICE)
