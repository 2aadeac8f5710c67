"""Molmo2 in numbers: exact parameter counts of the stock class, and stages as workloads."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from trackyard.estimate.workload import Workload
from trackyard.feed.geometry import VisionGeometry
from trackyard.models.presets import PRESETS
from trackyard.recipes.molmo2.parameters import load_molmo2
from trackyard.recipes.molmo2.sizes import budget_lengths, shapes, workload
from trackyard.train.flops import step_flops

ROOT = Path(__file__).resolve().parents[3]
MINI = VisionGeometry(crop_size=64, patch_size=8, margin=(1, 1), max_crops=4)


@pytest.mark.parametrize(
    ("preset", "geometry", "counts"),
    [
        ("tiny", MINI, (166_400, 93_440, 554_016)),
        ("nano", VisionGeometry(), (382_505_936, 19_517_952, 751_763_456)),
        ("4b", VisionGeometry(), (382_505_936, 56_611_328, 4_411_751_936)),
        ("8b", VisionGeometry(), (382_505_936, 87_937_536, 8_191_259_648)),
        ("o7b", VisionGeometry(), (382_505_936, 79_745_536, 7_299_141_632)),
    ],
)
def test_parameters_are_those_of_the_stock_class(
    preset: str, geometry: VisionGeometry, counts: tuple[int, int, int]
) -> None:
    """Counted on the meta device with transformers' class."""
    found = shapes(PRESETS[preset], geometry).parameters
    assert (found["vit"], found["connector"], found["llm"]) == counts


def report(stage: str = "stage2", **changes: object) -> Workload:
    parameters = load_molmo2(ROOT / "profiles" / "report.yaml")
    if "frozen" in changes:
        rates = parameters.stage2.optimiser.rates
        rates = rates | {str(changes["frozen"]): rates["vit"].model_copy(update={"learning_rate": 0.0})}
        optimiser = parameters.stage2.optimiser.model_copy(update={"rates": rates})
        parameters = parameters.model_copy(
            update={"stage2": parameters.stage2.model_copy(update={"optimiser": optimiser})}
        )
    return workload(parameters, stage, lengths=None, dense=False)  # type: ignore[arg-type]


def test_a_frame_budget_fills_packs_as_the_spec_says() -> None:
    """performance spec 9.7: 49 frames fill 4,096 tokens; 128 and 384 are the limits of the longer packs."""
    seed, real = (load_molmo2(ROOT / "profiles" / f"{name}.yaml") for name in ("seed", "report"))
    assert budget_lengths(seed, "stage2").inputs == 49 * 512
    assert budget_lengths(real, "stage2").inputs == 128 * 128
    assert budget_lengths(real, "stage3").inputs == 384 * 128


def test_what_is_frozen_is_not_trained_and_costs_less() -> None:
    whole, frozen = report(), report(frozen="vit")
    assert whole.trained == whole.parameters == frozen.parameters == 4_850_869_200
    assert frozen.trained == whole.trained - 382_505_936
    assert [part.gradient for part in frozen.parts] == ["none", "trained", "trained"]
    assert [part.gradient for part in report(frozen="connector").parts] == ["trained", "passes", "trained"]
    assert step_flops(frozen.useful) < step_flops(whole.useful)


def test_padding_is_computed_and_not_useful() -> None:
    work = report()
    half = replace(budget_lengths(load_molmo2(ROOT / "profiles" / "report.yaml"), "stage2"), tokens=2**20)
    less = workload(load_molmo2(ROOT / "profiles" / "report.yaml"), "stage2", lengths=half, dense=False)
    assert step_flops(less.useful) < 0.8 * step_flops(work.useful)
    assert step_flops(less.computed) > step_flops(less.useful)


def test_a_dense_mask_computes_every_pair() -> None:
    parameters = load_molmo2(ROOT / "profiles" / "mini.yaml")
    dense, blocks = (workload(parameters, "stage3", lengths=None, dense=flag) for flag in (True, False))
    assert step_flops(dense.computed) > step_flops(blocks.computed)
    assert dense.mask_bytes > 1000 * blocks.mask_bytes


def test_the_published_hours_are_told_for_the_published_recipe_alone() -> None:
    assert report("stage2").notes == ("the Molmo2 report states 7,500 H100-hours for this stage and size",)
    seed = load_molmo2(ROOT / "profiles" / "seed.yaml")
    assert workload(seed, "stage2", lengths=None, dense=False).notes == ()
