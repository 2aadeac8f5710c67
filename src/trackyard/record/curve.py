"""The training curve of a run, from the spools of all its attempts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from trackyard.errors import TrackyardError
from trackyard.record.spool import read_spool


@dataclass(frozen=True, kw_only=True, slots=True)
class Curve:
    """points: (step, loss) of every step that was applied, rising, each once. skipped: steps that were left out."""

    points: Sequence[tuple[int, float]]
    skipped: Sequence[int]


def read_curve(spool: Path, steps: int) -> Curve:
    """The curve of steps 1 to `steps`, whatever attempts it took; of a repeated step the last word counts.

    Raises TrackyardError if a step is missing.
    """
    found: dict[int, float | None] = {}
    for path in sorted(spool.glob("attempt-*.jsonl")):
        for _, event in read_spool(path).events:
            if event["event"] == "metrics" and "train/skipped" in event["values"]:
                found[event["step"]] = event["values"].get("train/loss")
    missing = sorted(set(range(1, steps + 1)) - set(found))
    if missing:
        raise TrackyardError(
            what=f"the spool holds {len(found)} of {steps} training steps; the first missing one is {missing[0]}",
            why="a curve with gaps cannot be compared with another",
            fix="move the run directory away and run the stage again",
        )
    return Curve(
        points=[(step, loss) for step, loss in sorted(found.items()) if loss is not None],
        skipped=[step for step, loss in sorted(found.items()) if loss is None],
    )
