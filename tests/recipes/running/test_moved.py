"""When the movement audit is asked, and what is left on the disk; what it finds is tested where it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from trackyard.errors import DataError
from trackyard.recipes.running.moved import EARLY, END, Movements, read_movement
from trackyard.train.audit import AuditError
from trackyard.train.movement import Movement, MovementReport

ROW = Movement(
    tensor="V", elements=4, examined=4, changed=1.0, rel_update=0.1, dtype="float32", constrained=True, small=0.0
)


class Examined:
    """An audit that says the same each time, and keeps when it was asked."""

    def __init__(self, changed: float = 1.0) -> None:
        self.asked: list[int] = []
        self._row = replace(ROW, changed=changed)

    def examine(self, step: int, total: Any) -> MovementReport:
        self.asked.append(step)
        return MovementReport(step=step, rows=(self._row,), small_share=0.0)


def run(directory: Path, audit: Examined, done: Sequence[int], *, steps: int, rank: int = 0) -> None:
    ranks: Any = SimpleNamespace(rank=rank, total=None)
    movements = Movements(audit, steps=steps, ranks=ranks, directory=directory)  # type: ignore[arg-type]
    for each in done:
        movements.after(each)


@pytest.mark.parametrize(
    ("steps", "asked"), [(60, [20, 60]), (21, [20, 21]), (20, [20]), (6, [6])], ids=["60", "21", "20", "6"]
)
def test_after_update_20_and_at_the_end(tmp_path: Path, steps: int, asked: list[int]) -> None:
    audit = Examined()
    run(tmp_path, audit, range(steps + 1), steps=steps)
    assert audit.asked == asked
    assert [report["step"] for report in read_movement(tmp_path, steps)] == asked


def test_an_attempt_that_goes_on_later_does_not_ask_again(tmp_path: Path) -> None:
    first, second = Examined(), Examined()
    run(tmp_path, first, range(31), steps=60)
    run(tmp_path, second, range(30, 61), steps=60)
    assert (first.asked, second.asked) == ([20], [60])
    assert [report["step"] for report in read_movement(tmp_path, 60)] == [20, 60]


def test_a_run_that_went_back_and_on_behind_update_20_is_examined_there(tmp_path: Path) -> None:
    audit = Examined()
    run(tmp_path, audit, [*range(16), *range(25, 61)], steps=60)
    assert audit.asked == [25, 60]


def test_what_was_found_is_written_before_it_is_judged(tmp_path: Path) -> None:
    with pytest.raises(AuditError, match=r"after step 20: not moved \(1\): V"):
        run(tmp_path, Examined(changed=0.0), range(21), steps=60)
    assert (tmp_path / EARLY).exists()
    # Half of the entries are enough at first, and too few at the end.
    run(tmp_path, Examined(changed=0.5), range(21), steps=60)
    with pytest.raises(AuditError, match=r"tensors 0.5000, at least 0.99"):
        run(tmp_path, Examined(changed=0.5), [60], steps=60)


def test_other_ranks_examine_and_write_nothing(tmp_path: Path) -> None:
    audit = Examined()
    run(tmp_path, audit, range(61), steps=60, rank=1)
    assert audit.asked == [20, 60]
    assert not list(tmp_path.iterdir())
    with pytest.raises(DataError, match=EARLY):
        read_movement(tmp_path, 60)
    with pytest.raises(DataError, match=END):
        read_movement(tmp_path, 6)
