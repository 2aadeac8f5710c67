"""How far a job has come: the newest complete checkpoint of each of its runs, and how much its stage has written.

A run is a job's own if one of its attempts says so (TRACKYARD_JOB). Stages without runs append results below
runs/<track>/, or to outputs that persist; there the parts of one stage are not told apart, so that a part that does
nothing is noticed only when the others are done. The number of lives bounds it all the same.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from trackyard.launch.jobs.graph import FOLDER
from trackyard.record.rundir import SPEC, open_existing
from trackyard.train.checkpoint import complete_checkpoints, step_of

CHECKPOINTS = "checkpoints"


@dataclass(frozen=True, kw_only=True, slots=True)
class Mark:
    """steps: of the newest complete checkpoint, by directory of the run; bytes: written by stages without runs."""

    steps: Mapping[Path, int] = field(default_factory=dict)
    bytes: int = 0


def mark(root: Path, track: str | None, outputs: Iterable[Path] | None) -> Mark:
    """Where all of `track` stands now. outputs: those that persist of a stage without runs; None for one with runs."""
    steps, written = {}, 0
    for top in (*([root / FOLDER.parts[0] / track] if track else []), *(outputs or ())):
        for folder, names, files in os.walk(top):
            if SPEC in files:
                steps[Path(folder)] = _newest(Path(folder))
                names.clear()
            elif outputs is not None:
                written += sum(_bytes(Path(folder, name)) for name in files)
    return Mark(steps=steps, bytes=written)


def progressed(before: Mark, after: Mark, job: str) -> bool:
    """Whether a checkpoint of the runs of `job`, or what its stage writes, grew between two marks."""
    grown = [path for path, step in after.steps.items() if step > before.steps.get(path, 0)]
    return after.bytes > before.bytes or any(_worked_on(path, job) for path in grown)


def _worked_on(run: Path, job: str) -> bool:
    return any(attempt.job == job for attempt in open_existing(run).attempts())


def _newest(run: Path) -> int:
    found = complete_checkpoints(run / CHECKPOINTS)
    return (step_of(found[-1]) or 0) if found else 0


def _bytes(file: Path) -> int:
    if file.name.startswith("."):
        return 0  # a lock, or not complete
    try:
        return file.lstat().st_size
    except FileNotFoundError:
        return 0  # the stage, or one beside it, works on
