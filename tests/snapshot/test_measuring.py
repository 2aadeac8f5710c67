"""Rows are measured once, in parts that survive a failure, and without their media."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from trackyard.durable import TEMPORARY
from trackyard.errors import DataError
from trackyard.row import Row
from trackyard.snapshot import measuring
from trackyard.snapshot.index import LengthIndex, Measured
from trackyard.snapshot.measuring import LOCK, build_index
from trackyard.snapshot.reader import SnapshotDataset


def plain_measure(row: Row) -> Measured:
    """Lengths from the row number; every tenth row is too long, every seventh has no label, every fifth is changed."""
    assert all(medium.data == b"" for medium in row.media)
    number = int(row.id.removeprefix("row-"))
    reason = "text beyond L" if number % 10 == 0 else "no label token" if number % 7 == 0 else None
    notes = {"frames reduced": int(number % 5 == 0)}
    return Measured(tokens=100 + number, visual=number, inputs=2, labels=3, reason=reason, kind="image", notes=notes)


class Failing:
    """Fails at a row."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __call__(self, row: Row) -> Measured:
        if row.id == f"row-{self.number:05d}":
            raise DataError(what=row.id, why="a test", fix="none")
        return plain_measure(row)


class Measure:
    """`plain_measure` that counts its calls."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, row: Row) -> Measured:
        self.calls += 1
        return plain_measure(row)


def build(dataset: Path, cache: Path, measure: Measure, *, split: str = "train", key: str = "k") -> LengthIndex:
    return build_index(SnapshotDataset.open(dataset), split, measure, measure_key=key, cache=cache)


def same(first: LengthIndex, second: LengthIndex) -> bool:
    names = ("tokens", "visual", "inputs", "labels", "reason")
    return first.reasons == second.reasons and all(
        np.array_equal(getattr(first, name), getattr(second, name)) for name in names
    )


def test_lengths_of_every_row(dataset: Path, tmp_path: Path) -> None:
    index = build(dataset, tmp_path / "cache", Measure())
    assert index.tokens.dtype == np.int32
    assert index.tokens.tolist() == list(range(100, 140))
    assert index.counts_by_reason() == {"text beyond L": 4, "no label token": 5}
    excluded = {0, 10, 20, 30, 7, 14, 21, 28, 35}
    assert index.usable.tolist() == [k for k in range(40) if k not in excluded]
    assert len(index.usable) + sum(index.counts_by_reason().values()) == 40


def test_rows_are_measured_once_per_key_and_split(dataset: Path, tmp_path: Path) -> None:
    measure, cache = Measure(), tmp_path / "cache"
    first = build(dataset, cache, measure)
    second = build(dataset, cache, measure)
    assert measure.calls == 40
    assert same(first, second)
    assert first.fingerprint == second.fingerprint
    assert second.tokens.dtype == np.int32
    build(dataset, cache, measure, key="another tokenizer")
    build(dataset, cache, measure, split="validation")
    assert measure.calls == 40 + 40 + 5
    assert len(list(cache.iterdir())) == 3


def test_a_snapshot_of_other_bytes_is_measured_anew(dataset: Path, tmp_path: Path, write, make_row) -> None:
    measure, cache = Measure(), tmp_path / "cache"
    first = build(dataset, cache, measure)
    write(tmp_path / "next/numbers", {"train": (make_row(k) for k in range(39))})
    second = build(tmp_path / "next/numbers", cache, measure)
    assert measure.calls == 79
    assert first.fingerprint != second.fingerprint


@pytest.mark.parametrize(
    "damage",
    {
        "flip": lambda data: data[:60] + bytes([data[60] ^ 1]) + data[61:],
        "cut": lambda data: data[: len(data) // 2],
        "empty": lambda data: b"",
        "other file": lambda data: b"PAR1" * 10,
    }.items(),
    ids=lambda item: item[0],
)
def test_a_damaged_index_is_measured_anew(dataset: Path, tmp_path: Path, damage) -> None:
    measure, cache = Measure(), tmp_path / "cache"
    first = build(dataset, cache, measure)
    (path,) = cache.iterdir()
    path.write_bytes(damage[1](path.read_bytes()))
    assert same(build(dataset, cache, measure), first)
    assert measure.calls == 80
    build(dataset, cache, measure)
    assert measure.calls == 80  # and it was replaced


def test_an_index_of_another_key_is_not_taken(dataset: Path, tmp_path: Path) -> None:
    """The file name holds a short digest; the whole one is compared."""
    measure, cache = Measure(), tmp_path / "cache"
    build(dataset, cache, measure, key="a")
    (first,) = cache.iterdir()
    build(dataset, cache, measure, key="b")
    (second,) = set(cache.iterdir()) - {first}
    second.write_bytes(first.read_bytes())
    build(dataset, cache, measure, key="b")
    assert measure.calls == 120


def test_the_fingerprint_covers_lengths_and_reasons(dataset: Path, tmp_path: Path) -> None:
    index = build(dataset, tmp_path, Measure())
    columns = {name: getattr(index, name).copy() for name in ("tokens", "visual", "inputs", "labels", "reason")}
    prints = {index.fingerprint, LengthIndex(**columns, reasons=("usable", "a", "b")).fingerprint}
    for name, column in columns.items():
        changed = column.copy()
        changed[3] += 1
        prints.add(LengthIndex(**(columns | {name: changed}), reasons=index.reasons).fingerprint)
    assert len(prints) == 7


def _parts(dataset: Path, cache: Path, measure: object, *, rows: int = 1, key: str = "k") -> LengthIndex:
    opened = SnapshotDataset.open(dataset)
    return build_index(opened, "train", measure, measure_key=key, cache=cache, workers=2, part_rows=rows)  # type: ignore[arg-type]


def test_parts_in_several_processes_give_the_same_index(dataset: Path, tmp_path: Path) -> None:
    whole = build(dataset, tmp_path / "a", Measure())
    parts = _parts(dataset, tmp_path / "b", plain_measure)
    assert same(whole, parts)
    assert whole.fingerprint == parts.fingerprint
    assert whole.notes == parts.notes == {"frames reduced": 8}
    assert {path.name for path in (tmp_path / "b").iterdir()} == {
        LOCK,
        *(path.name for path in (tmp_path / "a").iterdir()),
    }


def test_of_two_commands_one_measures_and_the_other_waits(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls, together = measuring._in_parts, [], threading.Barrier(2)

    def slow(*arguments: Any) -> LengthIndex:
        calls.append(1)
        time.sleep(0.3)
        return real(*arguments)

    def command() -> LengthIndex:
        together.wait(60)
        return _parts(dataset, tmp_path, plain_measure)

    monkeypatch.setattr(measuring, "_in_parts", slow)
    with ThreadPoolExecutor(2) as pool:
        first, second = [one.result(120) for one in [pool.submit(command), pool.submit(command)]]
    assert same(first, second)
    assert len(calls) == 1


def test_parts_that_were_done_are_not_measured_again(dataset: Path, tmp_path: Path) -> None:
    """The first try fails in the second of three shards; the second try measures what is not there."""
    cache = tmp_path / "cache"
    with pytest.raises(DataError, match="row-00020"):
        _parts(dataset, cache, Failing(20))
    (work,) = cache.glob(f"{TEMPORARY}*")
    done = {path.name: path.stat().st_mtime_ns for path in work.iterdir()}
    assert 1 <= len(done) < 3
    assert same(_parts(dataset, cache, plain_measure), build(dataset, tmp_path / "other", Measure()))
    assert not work.exists()


def test_media_bytes_are_not_read(dataset: Path, tmp_path: Path) -> None:
    """Zeroed media pages do not disturb measuring, and a zeroed page of text does."""
    shard = next(dataset.glob("train/*.parquet"))
    data = bytearray(shard.read_bytes())
    with pq.ParquetFile(shard) as file:
        group = file.metadata.row_group(0)
        columns = {group.column(k).path_in_schema: group.column(k) for k in range(group.num_columns)}

    def zeroed(column: str) -> None:
        chunk = columns[column]
        start = chunk.data_page_offset + 64
        shard.write_bytes(data[:start] + bytes(40) + data[start + 40 :])

    zeroed("media.list.element.bytes")
    assert len(build(dataset, tmp_path / "a", Measure()).usable) == 31
    zeroed("conversations.list.element.list.element.content")
    with pytest.raises(DataError, match="cannot be read"):
        build(dataset, tmp_path / "b", Measure())
