"""The training curve out of the spools of several attempts."""

from __future__ import annotations

from pathlib import Path

import pytest

from trackyard.errors import TrackyardError
from trackyard.record.curve import read_curve
from trackyard.record.rundir import Attempt
from trackyard.record.spool import Spool


def spooled(folder: Path, number: int, losses: dict[int, float | None]) -> None:
    """One attempt; None is a step whose update was left out."""
    with Spool(folder, Attempt(number=number, host="h", pid=1, started="2026-01-01T00:00:00+00:00")) as spool:
        for step, loss in losses.items():
            spool.metrics({"train/skipped": float(loss is None)} | ({} if loss is None else {"train/loss": loss}), step)
        spool.metrics({"validation/loss": 9.0}, 2)


def test_each_step_is_there_once_whatever_attempts_it_took(tmp_path: Path) -> None:
    spooled(tmp_path, 1, {1: 4.0, 2: 3.0, 3: 2.5})
    spooled(tmp_path, 2, {3: 2.5, 4: None, 5: 2.0})
    curve = read_curve(tmp_path, 5)
    assert list(curve.points) == [(1, 4.0), (2, 3.0), (3, 2.5), (5, 2.0)]
    assert list(curve.skipped) == [4]


def test_a_gap_is_named(tmp_path: Path) -> None:
    spooled(tmp_path, 1, {1: 4.0, 2: 3.0, 4: 2.0})
    with pytest.raises(TrackyardError, match="holds 3 of 5 training steps; the first missing one is 3"):
        read_curve(tmp_path, 5)


def test_no_spool_is_no_curve(tmp_path: Path) -> None:
    with pytest.raises(TrackyardError, match="holds 0 of 2 training steps"):
        read_curve(tmp_path, 2)
