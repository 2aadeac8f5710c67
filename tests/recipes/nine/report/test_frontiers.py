"""Frontiers of the specification's example, of data sets, and what they share."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.recipes.nine.report.made_sweep import KEYS, TASKS, made_gathered
from trackyard.evaluate.frontier import Frontier, FrontierPoint, frontier, read_frontier
from trackyard.recipes.nine.report.findings import findings
from trackyard.recipes.nine.report.frontiers import AXES, climbs, frontiers, overlaps, steps, write_frontiers
from trackyard.recipes.nine.report.pairs import Pairs

EXAMPLE: dict[str, tuple[float, float]] = {
    "a": (100, 0.60),
    "b": (120, 0.60),
    "c": (120, 0.65),
    "d": (150, 0.65),
    "e": (90, 0.50),
}


def made(points: Mapping[str, tuple[float, float]]) -> Frontier:
    listed = [FrontierPoint(key=k, x=x, y=y, x_lo=x, x_hi=x, y_lo=y, y_hi=y) for k, (x, y) in points.items()]
    return frontier("set", "t_total_ms.P50", "vqa", listed)


def test_the_example_of_the_specification() -> None:
    found = made(EXAMPLE)
    assert [point.key for point in steps(found)] == ["e", "a", "c"]
    assert [(left.key, right.key) for left, right in climbs(found)] == [("e", "a"), ("a", "c")]


def test_repeats_of_a_place_are_one_step() -> None:
    found = made(EXAMPLE | {"a2": (100, 0.60), "e2": (90, 0.50)})
    assert [point.key for point in steps(found)] == ["e", "e2", "a", "a2", "c"]
    assert [(left.key, right.key) for left, right in climbs(found)] == [("e", "a"), ("a", "c")]


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=12))
def test_climbs_rise_in_both(points: list[tuple[int, int]]) -> None:
    found = made({str(number): point for number, point in enumerate(points)})
    for left, right in climbs(found):
        assert left.x < right.x
        assert left.y < right.y
    assert len(climbs(found)) == len({(point.x, point.y) for point in steps(found)}) - 1


def test_files_hold_every_configuration_with_its_intervals(tmp_path: Path) -> None:
    gathered = made_gathered()
    write_frontiers(frontiers(gathered), tmp_path)
    assert len(list(tmp_path.glob("frontiers/*.json"))) == len(TASKS) * len(AXES)
    found = read_frontier(tmp_path / "frontiers" / "mmmu-prefill.json", fix="-")
    assert (found.x, found.y) == ("t_prefill_ms.P50", "mmmu")
    assert {point.key for point in found.points} == set(KEYS.values())
    for point in found.points:
        result = gathered.results["mmmu"][point.key]
        assert (point.x, point.y) == (result.times.parts["prefill"].p50, result.metric["mmmu"].value)
        assert point.x_lo < point.x < point.x_hi
        assert point.y_lo <= point.y <= point.y_hi


def test_overlap_is_symmetric_and_one_with_itself() -> None:
    shared = overlaps(frontiers(made_gathered()), "total")
    for a, row in shared.items():
        for b, value in row.items():
            assert value == shared[b][a] == (1.0 if a == b else value)
            assert 0 <= value <= 1


def test_findings_name_the_best_and_who_ties_with_it() -> None:
    gathered = made_gathered()
    found = frontiers(gathered)
    pairs = Pairs(gathered, resamples=300)
    for finding in findings(gathered, found, pairs):
        name, metric = finding.task.name, finding.task.metric
        values = {key: result.metric[metric].value for key, result in gathered.results[name].items()}
        assert values[finding.best.key] == max(values.values())
        assert finding.fastest.times.parts["total"].p50 == min(point.x for point in found[name]["total"].points)
        assert finding.best.key not in finding.as_good
        assert all(pairs.tied(name, finding.best.key, key) for key in finding.as_good)
        worst = min(values, key=values.__getitem__)
        assert worst not in finding.as_good, "the worst of these is far from the best"
        assert finding.fastest_as_good.times.parts["total"].p50 <= finding.best.times.parts["total"].p50
        assert finding.tied_steps <= finding.steps == len(climbs(found[name]["total"]))


def test_a_configuration_ties_with_itself_and_both_ways_are_opposite() -> None:
    pairs = Pairs(made_gathered(), resamples=300)
    first, *_, last = KEYS.values()
    assert pairs.tied("okvqa", first, first)
    one, other = pairs.difference("okvqa", last, first), pairs.difference("okvqa", first, last)
    assert one.difference == pytest.approx(-other.difference)
    assert not one.tie
