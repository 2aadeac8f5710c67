"""Whatever is killed, resumed and repeated: every (key, step) is delivered exactly once, as it was first spooled."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trackyard.record import points as module
from trackyard.record.points import Line, PointCensus, batches, undelivered
from trackyard.record.spool import SpoolPart, read_spool
from trackyard.record.tracking.server import Point

Life = tuple[int, int]
"""First step and last step of an attempt."""


def value_at(step: int) -> float:
    return step / 7


def encode(lives: list[Life], keys: tuple[str, ...] = ("a", "b")) -> list[bytes]:
    """The spool files of attempts; no two lines have the same timestamp."""
    files = []
    timestamp = 0
    for first, last in lives:
        lines = []
        for step in range(first, last + 1):
            timestamp += 1
            values = {key: value_at(step) for key in keys}
            lines.append(json.dumps({"event": "metrics", "step": step, "timestamp": timestamp, "values": values}))
        files.append("".join(line + "\n" for line in lines).encode())
    return files


def parse(folder: Path, files: list[bytes]) -> dict[str, SpoolPart]:
    parts = {}
    for number, data in enumerate(files, 1):
        path = folder / f"attempt-{number:04d}.jsonl"
        path.write_bytes(data)
        parts[path.name] = read_spool(path)
    return parts


@st.composite
def resumed_lives(draw: st.DrawFn) -> list[Life]:
    """Attempts that each begin at or before the step after the last one that any attempt reached."""
    lives: list[Life] = []
    reached = 0
    for _ in range(draw(st.integers(1, 4))):
        first = draw(st.integers(1, reached + 1))
        last = first + draw(st.integers(0, 9))
        lives.append((first, last))
        reached = max(reached, last)
    return lives


def sync(parts: dict[str, SpoolPart], offsets: dict[str, int], store: set[Point], die_at: int) -> dict[str, int]:
    """Deliver as a sync does; dies at half-batch number `die_at`: after the store took it, before the offsets."""
    for number, batch in enumerate(batches(undelivered(parts, offsets, PointCensus()))):
        if die_at == 2 * number:
            return offsets
        store.update(point for line in batch for point in line.points)
        if die_at == 2 * number + 1:
            return offsets
        offsets = {**offsets, **{line.file: line.end for line in batch}}
    return offsets


@settings(deadline=None)
@given(lives=resumed_lives(), data=st.data())
def test_every_step_is_delivered_exactly_once(
    tmp_path_factory: pytest.TempPathFactory, lives: list[Life], data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("spool")
    files = encode(lives)
    store: set[Point] = set()
    offsets: dict[str, int] = {}
    # Syncs while the attempts are still being written, each seeing a cut file and dying somewhere or nowhere.
    for number in range(1, len(files) + 1):
        for _ in range(data.draw(st.integers(0, 2))):
            cut = data.draw(st.integers(0, len(files[number - 1])))
            seen = [*files[: number - 1], files[number - 1][:cut]]
            offsets = sync(parse(folder, seen), offsets, store, data.draw(st.integers(0, 8)))
    sync(parse(folder, files), offsets, store, -1)

    expected = {}
    timestamp = 0
    for first, last in lives:
        for step in range(first, last + 1):
            timestamp += 1
            expected.setdefault(step, timestamp)
    assert sorted((p.key, p.step, p.timestamp, p.value) for p in store) == sorted(
        (key, step, at, value_at(step)) for key in ("a", "b") for step, at in expected.items()
    )


def test_the_property_can_fail(tmp_path: Path) -> None:
    """A rule that takes the newest attempt instead gives a step twice: once as it was, once as it became."""
    files = encode([(1, 4), (3, 6)])
    delivered: set[tuple[int, int]] = set()
    for seen in (files[:1], files):
        newest = {}
        for part in parse(tmp_path, seen).values():
            for _, event in part.events:
                newest[event["step"]] = event["timestamp"]
        delivered |= set(newest.items())
    steps = [step for step, _ in delivered]
    assert len(steps) > len(set(steps))


def test_the_end_of_an_old_file_may_be_seen_late(tmp_path: Path) -> None:
    files = encode([(1, 6), (3, 8)])
    store: set[Point] = set()
    early = [files[0][: files[0].index(b'"step": 4') - 20], files[1]]
    offsets = sync(parse(tmp_path, early), {}, store, -1)
    sync(parse(tmp_path, files), offsets, store, -1)
    keys = sorted((point.key, point.step) for point in store)
    assert keys == [(key, step) for key in ("a", "b") for step in range(1, 9)]


def _part(*events: dict[str, Any]) -> SpoolPart:
    return SpoolPart(events=list(enumerate(events, 1)), end=len(events), torn=0, damaged=0)


def test_repeated_values_that_differ_are_counted(tmp_path: Path) -> None:
    parts = {
        "attempt-0001.jsonl": _part(
            {"event": "metrics", "step": 1, "timestamp": 1, "values": {"loss": 1.0, "lr": 0.1, "usage/mfu": 3.0}},
            {"event": "metrics", "step": 2, "timestamp": 2, "values": {"loss": 2.0, "lr": 0.1}},
        ),
        "attempt-0002.jsonl": _part(
            {"event": "metrics", "step": 1, "timestamp": 3, "values": {"loss": 1.0, "lr": 0.1, "usage/mfu": 4.0}},
            {"event": "metrics", "step": 2, "timestamp": 4, "values": {"loss": 2.5, "lr": 0.1}},
        ),
    }
    census = PointCensus()
    lines = list(undelivered(parts, {}, census))
    assert [len(line.points) for line in lines] == [3, 2, 0, 0]
    assert census.differences == {"loss": 1}
    # The count is of the whole spool, also where everything was delivered before.
    again = PointCensus()
    assert list(undelivered(parts, dict.fromkeys(parts, 99), again)) == []
    assert again == census


def test_values_that_are_not_finite_are_named_once_and_not_delivered() -> None:
    odd = {"event": "nonfinite", "step": 3, "timestamp": 1, "values": {"loss": "nan", "norm": "inf"}}
    census = PointCensus()
    lines = list(undelivered({"1": _part(odd), "2": _part(odd)}, {}, census))
    assert [line.points for line in lines] == [[], []]
    assert census == PointCensus(nonfinite=["loss@3=nan", "norm@3=inf"], differences={})


@settings(deadline=None)
@given(sizes=st.lists(st.integers(0, 25), max_size=30))
def test_batches_hold_whole_lines_in_order(sizes: list[int]) -> None:
    point = Point(key="a", value=0.0, step=0, timestamp=0)
    lines = [Line(file="f", end=end, points=[point] * size) for end, size in enumerate(sizes)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BATCH", 20)
        made = list(batches(lines))
    assert [line for batch in made for line in batch] == lines
    assert all(batch for batch in made)
    assert all(len(batch) == 1 or sum(len(line.points) for line in batch) <= 20 for batch in made)
