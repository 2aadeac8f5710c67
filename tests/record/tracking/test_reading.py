"""Reading on gives what reading all of it at once gives, whatever was appended between."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trackyard.record.points import Point, PointCensus, undelivered
from trackyard.record.tracking.reading import Reading, Span

MACHINE = {"event": "machine", "world": 2, "device": "CPU", "host": "n1", "timestamp": 1}


def line(event: dict[str, Any]) -> bytes:
    return json.dumps(event).encode() + b"\n"


def points_of(reading: Reading, offsets: dict[str, int]) -> list[Point]:
    found = []
    for item in undelivered(reading.new, offsets, reading.census):
        found += item.points
        offsets[item.file] = item.end
    return found


events = st.one_of(
    st.builds(
        lambda step, value, key: {"event": "metrics", "step": step, "timestamp": 10, "values": {key: value}},
        st.integers(0, 6), st.floats(allow_nan=False, allow_infinity=False), st.sampled_from(["loss", "system/x"]),
    ),
    st.builds(lambda key: {"event": "tag", "values": {key: "1"}}, st.sampled_from("ab")),
    st.just(MACHINE),
)  # fmt: skip


@settings(deadline=None, max_examples=60)
@given(data=st.lists(st.tuples(st.integers(1, 3), events), max_size=25), cuts=st.sets(st.integers(0, 2000), max_size=6))
def test_reading_on_is_reading_all(
    tmp_path_factory: pytest.TempPathFactory, data: list[tuple[int, dict[str, Any]]], cuts: set[int]
) -> None:
    """Bytes arrive in file order, as attempts follow each other, and are cut anywhere, within lines too."""
    spool = tmp_path_factory.mktemp("spool")
    files = sorted({number for number, _ in data})
    whole = [(number, b"".join(line(event) for n, event in data if n == number)) for number in files]
    growing, offsets, found = Reading(), {}, []
    position = 0
    for number, content in whole:
        path = spool / f"attempt-{number:04d}.jsonl"
        for cut in [*(cut - position for cut in sorted(cuts) if 0 < cut - position < len(content)), len(content)]:
            path.write_bytes(content[:cut])
            assert growing.follows(spool)
            growing.read_on(spool)
            found += points_of(growing, offsets)
        position += len(content)
    at_once = Reading()
    at_once.read_on(spool)
    assert found == points_of(at_once, {})
    assert growing.facts == at_once.facts
    assert growing.spans == at_once.spans
    assert growing.census == at_once.census
    assert set(growing.machine) == set(at_once.machine)


def test_only_what_is_new_is_read(tmp_path: Path) -> None:
    path = tmp_path / "attempt-0001.jsonl"
    path.write_bytes(line(MACHINE) + line({"event": "metrics", "step": 1, "timestamp": 5, "values": {"a": 1.0}}))
    reading = Reading()
    reading.read_on(tmp_path)
    assert len(reading.new[path.name].events) == 2
    with path.open("ab") as file:
        file.write(line({"event": "metrics", "step": 4, "timestamp": 9, "values": {"a": 1.0, "system/x": 2.0}}))
    reading.read_on(tmp_path)
    assert [event["step"] for _, event in reading.new[path.name].events] == [4]
    assert reading.machine[path.name].events[0][1]["values"] == {"system/x": 2.0}
    assert reading.spans[path.name] == Span(first=1, last=4, last_ms=9)
    assert [event["event"] for _, event in reading.facts[path.name].events] == ["machine"]


def test_damage_is_counted_once_and_a_shorter_file_is_another(tmp_path: Path) -> None:
    path = tmp_path / "attempt-0001.jsonl"
    path.write_bytes(b"\0\0\n{}\n" + line(MACHINE) + b'{"ev')
    reading = Reading()
    for _ in range(2):
        reading.read_on(tmp_path)
        assert (reading.torn, reading.damaged) == (1, 2)
    assert reading.follows(tmp_path)
    path.write_bytes(b"")
    assert not reading.follows(tmp_path)
    path.unlink()
    assert not reading.follows(tmp_path)
    assert PointCensus() == reading.census
