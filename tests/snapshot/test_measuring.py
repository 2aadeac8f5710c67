from pathlib import Path

import numpy as np
import pytest

from trackyard.row import Row
from trackyard.snapshot.index import LengthIndex, Measured, build_index
from trackyard.snapshot.reader import SnapshotDataset


class Measure:
    """Lengths from the row number; every tenth row is too long, every seventh has no label. Counts its calls."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, row: Row) -> Measured:
        self.calls += 1
        number = int(row.id.removeprefix("row-"))
        reason = "text beyond L" if number % 10 == 0 else "no label token" if number % 7 == 0 else None
        return Measured(tokens=100 + number, visual=number, inputs=2, labels=3, reason=reason, kind="image")


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
