"""The movement audits of a run: after update 20 and at the end, written into the run directory and required.

Source: pile-ffn spec sections 4 and 10.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from trackyard.schema import read_document, write_document
from trackyard.train.movement import EARLY_STEP, MovementAudit, MovementReport
from trackyard.train.ranks import Ranks

SCHEMA = "trackyard-movement/1"
EARLY, END = "movement-early.json", "movement-end.json"
"""In the run directory; a run of 20 steps or fewer has no early one."""

log = logging.getLogger(__name__)


class Movements:
    """Examines when an audit is due. Made on every rank before the first of them examines anything."""

    def __init__(self, audit: MovementAudit, *, steps: int, ranks: Ranks, directory: Path) -> None:
        """audit: of the start. steps: of the run. directory: of the run, where rank 0 writes."""
        self._audit, self._steps = audit, steps
        self._ranks, self._directory = ranks, directory
        self._early_due = steps > EARLY_STEP and not (directory / EARLY).exists()

    def after(self, done: int) -> None:
        """`done` updates were made; all ranks call this alike. AuditError as `MovementReport.require`.

        After a rollback the run may go on behind update 20: the next one will do.
        """
        if done == self._steps:
            self._examine(done, END)
        elif self._early_due and done >= EARLY_STEP:
            self._early_due = False
            self._examine(done, EARLY)

    def _examine(self, done: int, name: str) -> None:
        report = self._audit.examine(done, self._ranks.total)
        # On the disk before it is judged: whoever looks into a failure finds what was measured.
        if self._ranks.rank == 0:
            write_document(self._directory / name, SCHEMA, report.to_json())
        report.require(final=name == END)
        log.info("movement: after update %d %s", done, _words(report))


def read_movement(directory: Path, steps: int) -> list[dict[str, Any]]:
    """The reports of a finished run, in order. DataError if one is absent."""
    names = (EARLY, END) if steps > EARLY_STEP else (END,)
    fix = f"move {directory} away and run the stage again: whether its weights moved is not known"
    return [read_document(directory / name, SCHEMA, fix=fix) for name in names]


def _words(report: MovementReport) -> str:
    least = min(row.changed for row in report.rows)
    middle = report.median_changed
    constrained = "" if middle is None else f", median of the constrained ones {middle:.4f}"
    return f"{len(report.rows)} tensors have moved, the least {least:.4f} of its entries{constrained}"
