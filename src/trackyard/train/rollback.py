"""Going back to the last checkpoint and on behind the steps that could not be applied.

A guard that leaves out many updates in a row says that the weights themselves are off. The run then takes those of a
checkpoint from before, and the data position moves on: the steps between are not repeated. Each rollback is written
down before it is carried out, so that a restart finds the same checkpoint at the same position. Sources: reliability
spec section 2 (PaLM, KempnerForge) and F20.

Steps are numbered from 0; a checkpoint of step c holds the state after c steps, so that step c comes next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trackyard.errors import TrackyardError
from trackyard.schema import read_document, write_document
from trackyard.train.guard_parameters import GuardParameters

SCHEMA = "trackyard-rollbacks/1"
DOCUMENT = "rollbacks.json"
"""In the run directory."""
NAMED_ROWS = 8
"""Row ids of a step that a sentence names; the document, and `trackyard plan show --step`, have all of them."""

RowsOf = Callable[[int], Sequence[str]]
"""Ids of the rows that a step of the plan is made of."""


class Diverged(TrackyardError):
    """Update after update could not be applied, whatever the run went back to."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rollback:
    """The weights of `checkpoint` go on at step `resume_at`; the steps between are passed over.

    checkpoint: 0 for the weights that the run started from. skipped: the steps in a row that were the reason, with the
    ids of their rows.
    """

    checkpoint: int
    resume_at: int
    skipped: dict[int, tuple[str, ...]]

    def to_json(self) -> dict[str, Any]:
        """As `from_json` reads it."""
        skipped = [{"step": step, "rows": list(rows)} for step, rows in self.skipped.items()]
        return {"checkpoint": self.checkpoint, "resume_at": self.resume_at, "skipped": skipped}

    @classmethod
    def from_json(cls, body: dict[str, Any]) -> Rollback:
        """One entry of the document."""
        skipped = {int(item["step"]): tuple(item["rows"]) for item in body["skipped"]}
        return cls(checkpoint=int(body["checkpoint"]), resume_at=int(body["resume_at"]), skipped=skipped)


def read_rollbacks(run: Path) -> list[Rollback]:
    """What a run went back to so far, oldest first; empty if it never did. DataError if the document is damaged."""
    path = run / DOCUMENT
    if not path.exists():
        return []
    body = read_document(path, SCHEMA, fix=f"restore {path}; without it a restart would take other steps")
    return [Rollback.from_json(item) for item in body["rollbacks"]]


def write_rollbacks(run: Path, rollbacks: Sequence[Rollback]) -> None:
    """Replace the document; one rank does this, before any rank acts on the last of them."""
    write_document(run / DOCUMENT, SCHEMA, {"rollbacks": [rollback.to_json() for rollback in rollbacks]})


def next_step(rollbacks: Iterable[Rollback], checkpoint: int) -> int:
    """The step that follows the state of `checkpoint`: its own number, unless a rollback passed steps over there."""
    return max([checkpoint, *(item.resume_at for item in rollbacks if item.checkpoint == checkpoint)])


def left_behind(rollbacks: Iterable[Rollback], checkpoint: int) -> bool:
    """Whether a checkpoint lies between a rollback's own and the position it went on at: never to be resumed from."""
    return any(item.checkpoint < checkpoint <= item.resume_at for item in rollbacks)


def plan_rollback(
    parameters: GuardParameters,
    rollbacks: Sequence[Rollback],
    *,
    in_a_row: Sequence[int],
    checkpoints: Iterable[int],
    rows_of: RowsOf,
) -> Rollback | None:
    """What to do after `in_a_row` skipped steps, the last of which was the last step taken; None to go on.

    checkpoints: steps of the complete ones. Taken is the newest from before the first skipped step, or, where rotation
    left none, the oldest of those since, whose weights are the same; without any, the start. Raises Diverged with steps
    and row ids when the run has gone back as often as it may.
    """
    if len(in_a_row) < parameters.rollback_after:
        return None
    skipped = {step: tuple(rows_of(step)) for step in in_a_row}
    if len(rollbacks) >= parameters.max_rollbacks:
        raise Diverged(
            what=f"{len(in_a_row)} updates in a row were left out, after {len(rollbacks)} rollbacks: "
            + "; ".join(named_step(step, rows) for step, rows in skipped.items()),
            why="each of them would have damaged the weights; those of the last checkpoint are untouched",
            fix=f"look at the rows (`trackyard plan show` with the stage and --step {in_a_row[0]} lists them) or lower"
            " the learning rates; guard.sigma, guard.rollback_after, guard.max_rollbacks in params.yaml allow more",
        )
    usable = sorted(step for step in checkpoints if not left_behind(rollbacks, step))
    before = [step for step in usable if step <= in_a_row[0]]
    chosen = before[-1] if before else usable[0] if usable else 0
    return Rollback(checkpoint=chosen, resume_at=in_a_row[-1] + 1, skipped=skipped)


def named_step(step: int, rows: Sequence[str]) -> str:
    """A step, counted from 1 as everywhere a user sees it, with the first of its rows."""
    more = f" and {len(rows) - NAMED_ROWS} more" if len(rows) > NAMED_ROWS else ""
    return f"step {step + 1} (rows {', '.join(rows[:NAMED_ROWS])}{more})"
