"""What a study puts on disk, by how long it stays there."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Kept = Literal["study", "cache", "runs", "running"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Stored:
    """One thing on disk. kept: with the study; as DVC's copy of it; of finished runs; only while cells are trained."""

    name: str
    bytes: int
    files: int
    kept: Kept


@dataclass(frozen=True, kw_only=True, slots=True)
class Storage:
    """items: everything. final: when the checkpoints of finished runs were removed. peak: while the last cells train
    and nothing was removed."""

    items: tuple[Stored, ...]

    @property
    def final(self) -> Stored:
        return self._sum("final", ("study", "cache"))

    @property
    def peak(self) -> Stored:
        return self._sum("peak", ("study", "cache", "runs", "running"))

    def without_finished(self) -> int:
        """Bytes at the peak if the checkpoints of a cell are removed as soon as it is finished."""
        return self.peak.bytes - self._sum("", ("runs",)).bytes

    def _sum(self, name: str, kinds: tuple[Kept, ...]) -> Stored:
        chosen = [item for item in self.items if item.kept in kinds]
        total = sum(item.bytes for item in chosen)
        return Stored(name=name, bytes=total, files=sum(item.files for item in chosen), kept=kinds[0])


def cache_of(study: Iterable[Stored]) -> Stored:
    """DVC's copy of stages' results."""
    items = list(study)
    return Stored(
        name="DVC's cache of these, without reflinks",
        bytes=sum(item.bytes for item in items),
        files=sum(item.files for item in items),
        kept="cache",
    )


def checkpoints(*, runs: int, at_once: int, keep: int, state: int, final: int, files: int) -> tuple[Stored, Stored]:
    """Those of finished runs, and those of running cells with the one that is being written.

    runs: trainings altogether; at_once: side by side; keep: checkpoints of each; state, files: of one; final: bytes of
    the final weights beside them.
    """
    finished = max(runs - at_once, 0)
    return (
        Stored(
            name=f"checkpoints of finished runs, {keep} each, and final weights",
            bytes=finished * (keep * state + final),
            files=finished * keep * files,
            kept="runs",
        ),
        Stored(
            name=f"checkpoints of {at_once} running cells, {keep} each and one being written",
            bytes=at_once * ((keep + 1) * state + final),
            files=at_once * (keep + 1) * files,
            kept="running",
        ),
    )
