"""Tokens of evaluations and attacks: pile-ffn spec sections 3.2, 7 and 8.3."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from trackyard.estimate.devices import DEVICES
from trackyard.models.degraded import EVALUATIONS
from trackyard.recipes.pile_ffn.cost import scoring_work as work
from trackyard.recipes.pile_ffn.cost.sizes import SIZES
from trackyard.recipes.pile_ffn.parameters import (
    AttackParameters,
    BenchmarkParameters,
    PileFfnParameters,
    load_pile_ffn,
)

ROOT = Path(__file__).resolve().parents[4]
SHAPE = SIZES["pythia-1.4b"].shape


def study(**changes: Any) -> PileFfnParameters:
    return load_pile_ffn(ROOT / "profiles" / "pythia-1.4b.yaml").model_copy(update=changes)


def attacked(budget: str) -> PileFfnParameters:
    return study(attacks=AttackParameters.model_validate({"budget": budget}))


@pytest.mark.parametrize(("budget", "tokens"), [("smoke", 2.9e4), ("sweep", 2.2e7), ("full", 6.3e8)])
def test_the_search_for_a_trigger(budget: str, tokens: float) -> None:
    assert work.trigger_attack(attacked(budget)).search == pytest.approx(tokens, rel=0.02)


def test_flips_of_the_full_budget() -> None:
    """1,000 documents: 3 of a gradient, and 10 times a gradient and 8 candidates; 50 with 202 forwards each."""
    found = work.flip_attacks(attacked("full"))
    assert found.search == 512 * (1_000 * (3 + 10 * 11) + 50 * 202)
    assert found.exact == 512 * 2 * (3 * 1_000 + 50)


def test_documents_are_scored_in_windows_that_overlap_by_half() -> None:
    assert work.validation(study()).exact == 2 * 4_194_304
    assert work.perplexity(study()).exact == 2 * 8_388_608
    assert work.matching(study()).exact == EVALUATIONS * work.validation(study()).exact


def test_every_set_is_replayed_on_every_arm() -> None:
    """8 arms with the untouched one, 120 documents of a trigger and 1,000 of flips, each clean and attacked."""
    assert work.replays(study()).exact == 8 * 8 * 2 * (120 + 1_000) * 512


def test_items_of_the_benchmarks() -> None:
    """Section 7."""
    assert {name: task.items for name, task in work.TASKS.items()} == {
        "lambada_openai": 5_153, "hellaswag": 10_042, "winogrande": 1_267, "truthfulqa_mc1": 817, "truthfulqa_mc2": 817,
    }  # fmt: skip
    limited = BenchmarkParameters(limit=1_000)
    assert [items for _, items in work.benchmark_items(limited)] == [1_000, 1_000, 1_000, 817, 817]
    made = BenchmarkParameters(source="made", made_items=24)
    assert sum(items for _, items in work.benchmark_items(made)) == 5 * 24
    unknown, _ = work.benchmark_items(BenchmarkParameters(tasks=("arc_challenge",)))[0]
    assert unknown == work.TASKS["hellaswag"]


def test_hours_follow_from_operations() -> None:
    """2 FLOP per weight and token, and attention; fp32 scores are what an A100 is slow at."""
    passes = work.Passes(length=2_048, exact=1e9)
    a100, h200 = (passes.hours(SHAPE, DEVICES[name]) for name in ("a100-80", "h200"))
    weights = SHAPE.weights + SHAPE.head
    assert a100 == pytest.approx(1e9 * 2 * weights / (0.6 * 19.5e12) / 3600, rel=0.1)
    assert a100 / h200 == pytest.approx(67 / 19.5)
    searched = work.Passes(length=2_048, search=1e9)
    assert searched.hours(SHAPE, DEVICES["a100-80"]) < a100
    both = work.Passes(length=2_048, exact=1e9, search=1e9).hours(SHAPE, DEVICES["a100-80"])
    assert both == pytest.approx(a100 + searched.hours(SHAPE, DEVICES["a100-80"]))
