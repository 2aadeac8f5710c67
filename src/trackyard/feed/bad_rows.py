"""Rows that fail to decode while a run trains: named, counted, and stopped by policy or by budget.

Such a row keeps its place in its pack without any loss weight. A damaged shard is something else: reading it raises
DataError whatever the policy is. Source: molmo2 spec section 9, reliability spec F6.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from trackyard.errors import DataError

Policy = Literal["skip", "stop"]
"""What a row that fails to decode does: keeps its place without loss, within a budget, or ends the run at once."""


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row without loss. row: number in the snapshot; id: its own; reason: the label it is counted under."""

    dataset: str
    row: int
    id: str
    reason: str

    def __str__(self) -> str:
        return f"{self.dataset} row {self.row} ({self.id!r}): {self.reason}"


class BadRowBudget:
    """Stops a run in which more than `share` of the rows could not be decoded (at least one is always allowed).

    policy: "stop" allows none. Add a step's rows before its update is applied.
    """

    def __init__(self, share: float, policy: Policy = "skip") -> None:
        self._share, self._policy = share, policy
        self.bad: Counter[str] = Counter()
        """By dataset and reason."""
        self.rows = 0

    def add(self, broken: Sequence[BadRow], *, rows: int) -> None:
        """Count `rows` rows, of which `broken` failed; DataError by policy, or once the budget is exceeded."""
        self.rows += rows
        self.bad.update(f"{row.dataset}: {row.reason}" for row in broken)
        if self._policy == "stop" and broken:
            raise DataError(
                what="could not be decoded: " + "; ".join(str(row) for row in broken),
                why="on_bad_row is stop; the update of this step was not applied",
                fix="replace the media and import the dataset again, or set on_bad_row to skip in params.yaml",
            )
        total = self.bad.total()
        if total > max(1.0, self._share * self.rows):
            raise DataError(
                what=f"{total} of {self.rows} rows could not be decoded: {dict(self.bad)}",
                why=f"the budget is {self._share:.2%}; beyond it the trained mixture is not the planned one; "
                f"the last was {broken[-1]}",
                fix="`dvc checkout --force data.dvc` restores the shards; then run the same command again",
            )
