"""Nothing is shown of a sweep of which something is missing, or that contradicts itself."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.recipes.nine.report.made_sweep import ALONE, KEYS, QUESTIONS, SWEEP, TASKS, made_results, made_scores
from trackyard.errors import DataError
from trackyard.evaluate.completeness import Tally
from trackyard.recipes.nine.report.gathering import Gathered, put_together
from trackyard.recipes.nine.report.measured import Measurement, SweepFacts

LAST = list(KEYS.values())[-1]


def gathered(found: list[Measurement], *, partial: bool = False, sweep: SweepFacts = SWEEP) -> Gathered:
    return put_together(sweep, TASKS, found, made_scores, partial=partial)


def without(key: str, dataset: str) -> list[Measurement]:
    return [result for result in made_results() if (result.key, result.dataset) != (key, dataset)]


def test_everything_is_there_in_the_order_of_the_sweep() -> None:
    found = gathered(made_results()[::-1])
    assert list(found.results) == [task.name for task in TASKS]
    assert all(tuple(here) == SWEEP.keys for here in found.results.values())
    assert found.watermark == ""


def test_a_missing_configuration_is_named() -> None:
    with pytest.raises(DataError, match=f"mmmu has 26 of 27 configurations; missing: {LAST[:12]}"):
        gathered(without(LAST, "mmmu"))


def test_missing_samples_are_named() -> None:
    results = made_results()
    short = Tally(
        expected=214_354, ok=53_589, failed=0, watermark="PARTIAL: 53,589 of 214,354 samples (25.0 %), 0 failed"
    )
    found = [replace(each, tally=replace(each.tally, expected=214_354)) for each in results]
    found[3] = replace(found[3], tally=short)
    with pytest.raises(DataError, match=f"coco_2014_vqa, configuration {found[3].name}.*53,589 of 214,354"):
        gathered(found)


def test_a_partial_view_says_so() -> None:
    found = gathered(without(LAST, "mmmu"), partial=True)
    assert found.watermarks["mmmu"] == "PARTIAL: 26 of 27 configurations"
    assert [name for name, text in found.watermarks.items() if text] == ["mmmu"]
    assert found.watermark == "PARTIAL: 1 of 9 data sets incomplete"


def test_contradictions_are_refused_even_in_a_partial_view() -> None:
    results = made_results()
    gpu = replace(ALONE, device="a GPU", kind="cuda")
    for changed, sweep, words in (
        ([*results, results[0]], SWEEP, "two results of"),
        ([*results, replace(results[0], dataset="other")], SWEEP, "on other, which is not among"),
        ([*results, replace(results[0], key="f" * 64)], SWEEP, "ffffffffffff, which the sweep does not have"),
        ([*results[:-1], replace(results[-1], split="test")], SWEEP, "split is validation"),
        ([*results[:-1], replace(results[-1], metric={})], SWEEP, "has no cider"),
        (
            [*results[:-1], replace(results[-1], tally=Tally(expected=9, ok=9, failed=0))],
            SWEEP,
            f"number of samples is {QUESTIONS}",
        ),
        (results, replace(SWEEP, machines=(ALONE, gpu)), "latencies of 2 devices"),
    ):
        with pytest.raises(DataError, match=words):
            gathered(changed, sweep=sweep, partial=True)
    with pytest.raises(DataError, match="no configuration was measured"):
        gathered([], partial=True)
