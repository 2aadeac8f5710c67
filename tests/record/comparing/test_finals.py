"""The last value of each metric, against the points that a sync delivers."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from trackyard.record.comparing.finals import Final, Finals
from trackyard.record.points import PointCensus, undelivered
from trackyard.record.spool import SpoolPart

KEYS = st.sampled_from(["a", "b", "c"])
LINES = st.lists(
    st.tuples(
        st.sampled_from(["metrics", "metrics", "nonfinite"]),
        st.integers(0, 5),
        st.dictionaries(KEYS, st.integers(-9, 9), min_size=1),
    ),
    max_size=30,
)


def events_of(lines: list[tuple[str, int, dict[str, int]]]) -> list[dict[str, Any]]:
    return [
        {
            "event": kind,
            "step": step,
            "timestamp": at,
            "values": {key: float(value) if kind == "metrics" else "nan" for key, value in values.items()},
        }
        for at, (kind, step, values) in enumerate(lines)
    ]


def folded(events: list[dict[str, Any]]) -> Finals:
    finals = Finals()
    for event in events:
        (finals.add if event["event"] == "metrics" else finals.lose)(event["step"], event["values"])
    return finals


@given(LINES)
def test_it_is_the_last_of_the_delivered_points(lines: list[tuple[str, int, dict[str, int]]]) -> None:
    events = events_of(lines)
    part = SpoolPart(events=list(enumerate(events, start=1)), end=len(events), torn=0, damaged=0)
    census = PointCensus()
    points = [point for line in undelivered({"attempt-0001.jsonl": part}, {}, census) for point in line.points]
    last: dict[str, Final] = {}
    for point in points:
        if point.key not in last or point.step > last[point.key].step:
            last[point.key] = Final(point.value, point.step)
    assert dict(folded(events)) == last


@given(LINES)
def test_no_number_is_a_metric_whose_largest_step_came_first_as_none(
    lines: list[tuple[str, int, dict[str, int]]],
) -> None:
    first: dict[tuple[str, int], str] = {}
    for kind, step, values in lines:
        for key in values:
            first.setdefault((key, step), kind)
    newest = {key: max(step for of, step in first if of == key) for key, _ in first}
    expected = tuple(sorted(key for key, step in newest.items() if first[key, step] == "nonfinite"))
    finals = folded(events_of(lines))
    held = set(finals)
    assert finals.settle() == expected
    assert set(finals) == held - set(expected)


def test_a_repeated_step_keeps_its_first_value_and_an_earlier_one_changes_nothing() -> None:
    finals = Finals()
    finals.add(1, {"a": 1.0, "b": 1.0})
    finals.add(3, {"a": 3.0})
    finals.add(3, {"a": 9.0, "b": 3.0})
    finals.add(2, {"a": 8.0, "b": 8.0, "c": 2.0})
    assert dict(finals) == {"a": (3.0, 3), "b": (3.0, 3), "c": (2.0, 2)}
    assert "c" in finals
    assert "d" not in finals
