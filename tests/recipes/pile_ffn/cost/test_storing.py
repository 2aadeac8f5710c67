"""Bytes and files of the study: pile-ffn spec sections 5 and 13."""

from __future__ import annotations

from pathlib import Path

import pytest

from trackyard.recipes.pile_ffn.cost.sizes import size_of
from trackyard.recipes.pile_ffn.cost.storing import Storage, storage
from trackyard.recipes.pile_ffn.parameters import PileFfnParameters, load_pile_ffn

ROOT = Path(__file__).resolve().parents[4]
STATE, FP32, BF16 = 16_975_773_696, 5_658_591_232, 2_829_295_616


def study(name: str = "pythia-1.4b") -> PileFfnParameters:
    return load_pile_ffn(ROOT / "profiles" / f"{name}.yaml")


def of(name: str = "pythia-1.4b", *, at_once: int = 1, keep: int | None = None) -> Storage:
    return storage(study(name), size_of(study(name).model), at_once=at_once, keep=keep)


def bytes_of(found: Storage, words: str) -> int:
    return next(item.bytes for item in found.items if words in item.name)


def test_the_default_study() -> None:
    found = of()
    assert bytes_of(found, "source text") == 3 * 11_100_000_000 + 2 * 338_000_000
    # Three slices, the held-out sets and 1,200 attacked documents of 512 tokens, in 16 bits.
    assert bytes_of(found, "tokens") == 2 * (3 * 655_360_000 + 4_194_304 + 8_388_608 + 1_200 * 512)
    assert bytes_of(found, "exports") == 22 * (FP32 + BF16)
    assert bytes_of(found, "pretrained model") == BF16
    assert bytes_of(found, "running") == 4 * STATE + FP32
    assert bytes_of(found, "finished runs") == 17 * (3 * STATE + FP32)


def test_final_is_the_study_and_its_cache_and_peak_adds_the_runs() -> None:
    found = of()
    assert found.final.bytes == 2 * sum(item.bytes for item in found.items if item.kept == "study")
    runs = bytes_of(found, "finished runs") + bytes_of(found, "running")
    assert found.peak.bytes == found.final.bytes + runs
    assert found.without_finished() == found.peak.bytes - bytes_of(found, "finished runs")
    assert found.peak.files > found.final.files > 0


@pytest.mark.parametrize("at_once", [1, 5, 18])
def test_every_cell_is_either_running_or_finished(at_once: int) -> None:
    found = of(at_once=at_once)
    runs = bytes_of(found, "finished runs") + bytes_of(found, "running")
    assert runs == 18 * (3 * STATE + FP32) + at_once * STATE


def test_fewer_checkpoints_take_less() -> None:
    assert of(keep=3).peak.bytes - of(keep=2).peak.bytes == 18 * STATE


def test_the_mini_study_is_small() -> None:
    assert of("mini").peak.bytes < 300e6
    assert "pretrained model" not in " ".join(item.name for item in of("mini").items)
