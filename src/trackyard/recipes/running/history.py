"""What a finished run leaves of its steps: every applied one once, where attempts went on, the last checkpoint."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from trackyard.digest import digest_file
from trackyard.errors import CheckpointError, DataError
from trackyard.recipes.running.job import Job
from trackyard.record.rundir import RunDirectory, spooled_attempt
from trackyard.record.spool import read_spool
from trackyard.train.checkpoint import MANIFEST, complete_checkpoints

Values = Mapping[str, float]


def spooled_steps(job: Job, directory: RunDirectory) -> tuple[dict[int, Values], list[dict[str, Any]]]:
    """Metrics of every step (from 1), rising, and {attempt, step} of each resume; of one repeated the last word counts.

    A step that was skipped has no train/loss. DataError if a step is missing, or none has a loss.
    """
    found: dict[int, Values] = {}
    resumes = []
    for path in sorted(directory.spool.glob("attempt-*.jsonl"), key=spooled_attempt):
        events = [event for _, event in read_spool(path).events if event["event"] == "metrics"]
        steps = {event["step"]: event["values"] for event in events if "train/skipped" in event["values"]}
        if steps and found:
            resumes.append({"attempt": spooled_attempt(path), "step": min(steps) - 1})
        found |= steps
    losses = sum("train/loss" in values for values in found.values())
    if len(found) < job.steps or not losses:
        raise DataError(
            what=f"the spools of {directory.path} hold {len(found)} of {job.steps} steps, {losses} with a loss",
            why="a history with gaps cannot be compared with that of another run",
            fix=f"move {directory.path} away and run the stage again: {job.again}",
        )
    return dict(sorted(found.items())), resumes


def last_checkpoint(job: Job, directory: RunDirectory) -> dict[str, str]:
    """path, from the root of the repository, and blake3 of its manifest. CheckpointError if none is there."""
    complete = complete_checkpoints(directory.checkpoints)
    if not complete:
        raise CheckpointError(
            what=f"{directory.checkpoints} holds no complete checkpoint",
            why="the result names the one that the final weights were made from",
            fix=f"move {directory.path} away and run the stage again: {job.again}",
        )
    return {"path": complete[-1].relative_to(job.root).as_posix(), "digest": digest_file(complete[-1] / MANIFEST)}


def peak_rate(values: Values) -> float:
    """The highest learning rate of a step's components."""
    return max(value for name, value in values.items() if name.startswith("train/learning_rate/"))


def history_csv(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> str:
    """One line a step; what was not measured there is empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
