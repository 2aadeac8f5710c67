"""Paired differences against their definitions, and the family that is corrected for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.recipes.datacomp.report.made_results import ITEMS, SETS, made_study, right_answers, write_study
from trackyard.evaluate.statistics import holm, mcnemar
from trackyard.recipes.datacomp.cells import BASE, CONTROLS, Cell
from trackyard.recipes.datacomp.report import pairs as module
from trackyard.recipes.datacomp.report.gathering import Gathered, gather
from trackyard.recipes.datacomp.report.pairs import Pair, pairs
from trackyard.recipes.datacomp.study import Study

SEEDS = (42, 1337)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    made = made_study(tmp_path_factory.mktemp("study"), seeds=SEEDS)
    write_study(made)
    return made


@pytest.fixture(scope="module")
def gathered(study: Study) -> Gathered:
    return gather(study)


@pytest.fixture(scope="module")
def found(study: Study, gathered: Gathered) -> list[Pair]:
    return pairs(gathered, study.parameters)


def test_every_reference_on_every_set_at_every_seed(study: Study, found: list[Pair]) -> None:
    assert len(found) == len(SEEDS) * len(SETS) * (1 + len(CONTROLS))
    for pair in found:
        ours = right_answers(study, Cell(name="world", seed=pair.seed))
        name = pair.b.partition("-")[0]
        theirs = right_answers(study, Cell(name=name, seed=None if name == BASE else pair.seed))
        assert pair.a == f"world-{pair.seed}"
        assert pair.items == ITEMS
        assert pair.diff == pytest.approx((ours - theirs) / ITEMS)
        assert (pair.better, pair.worse) == (ours - theirs, 0)
        assert pair.mcnemar_p == mcnemar(pair.better, pair.worse)
        assert pair.ci95.low < pair.diff < pair.ci95.high


def test_the_family_is_all_pairs_of_a_seed(found: list[Pair]) -> None:
    for seed in SEEDS:
        family = [pair for pair in found if pair.seed == seed]
        assert len(family) == len(SETS) * (1 + len(CONTROLS))
        wanted = holm({number: pair.mcnemar_p for number, pair in enumerate(family)})
        assert [pair.holm_p for pair in family] == list(wanted.values())
        assert max(pair.holm_p / pair.mcnemar_p for pair in family) == len(family)


def test_an_interval_does_not_depend_on_what_else_is_compared(
    study: Study, gathered: Gathered, found: list[Pair]
) -> None:
    fewer = study.parameters.model_copy(update={"arms": ("base_gemma", "world", "zero_latents")})
    alone = {(pair.a, pair.b, pair.benchmark): pair.ci95 for pair in pairs(gathered, fewer)}
    assert 0 < len(alone) < len(found)
    assert alone.items() <= {(pair.a, pair.b, pair.benchmark): pair.ci95 for pair in found}.items()


def body(tasks: dict[str, list[bool]]) -> dict[str, Any]:
    return {
        "records": [
            {"id": f"{task}{number}", "task": task, "correct": correct}
            for task, values in tasks.items()
            for number, correct in enumerate(values)
        ]
    }


def test_the_mean_over_tasks_is_compared_where_that_is_the_headline() -> None:
    first = body({"small": [True, True], "large": [False] * 8 + [True] * 2})
    second = body({"small": [False, False], "large": [False] * 8 + [True] * 2})
    compared = {name: module._pair("a", "b", 0, name, first, second, resamples=500) for name in ("blink", "captions")}
    assert compared["blink"].diff == pytest.approx((1.0 + 0.0) / 2)
    assert compared["captions"].diff == pytest.approx(2 / 12)
    # Within their tasks these items never differ, so that a draw within tasks cannot either.
    assert (compared["blink"].ci95.low, compared["blink"].ci95.high) == (0.5, 0.5)
    assert compared["captions"].ci95.low < compared["captions"].diff < compared["captions"].ci95.high
    assert compared["blink"].detectable == 0.0


def test_what_can_be_resolved_is_the_figure_of_the_specification() -> None:
    """Section 12.5: a standard error of 1.1 points at n = 1,901 and p = 0.4; for two models 2.8 sqrt(2) of them."""
    rng = np.random.default_rng(0)
    answers = [[bool(value) for value in rng.random(1901) < 0.4] for _ in range(2)]
    pair = module._pair("a", "b", 0, "captions", body({"t": answers[0]}), body({"t": answers[1]}), resamples=200)
    assert pair.detectable == pytest.approx(2.80 * 0.011 * 2**0.5, rel=0.05)
