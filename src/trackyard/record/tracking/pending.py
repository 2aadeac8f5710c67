"""How far delivery is, from files alone: what each run has spooled, what of it the store has, and why not the rest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from trackyard.errors import TrackyardError
from trackyard.record.points import PointCensus, undelivered
from trackyard.record.rundir import RunDirectory, all_runs, open_existing, spooled_attempt
from trackyard.record.spool import read_spool
from trackyard.record.tracking.synced import LastSync, read_last_sync, read_synced


@dataclass(frozen=True, kw_only=True, slots=True)
class RunPending:
    """One run. spooled: points, each metric and step once; refused: by the store; torn, damaged: lines that cannot be
    read; store, at_ms: where to and when it was delivered last, empty and 0 for never; why: what stands in the way."""

    path: str
    spooled: int
    delivered: int
    refused: int
    torn: int
    damaged: int
    store: str
    at_ms: int
    why: str

    @property
    def pending(self) -> int:
        """Points that a sync would deliver."""
        return self.spooled - self.delivered - self.refused


def pending_runs(root: Path, store: str) -> tuple[list[RunPending], LastSync | None]:
    """Every run below `root`, and the last pass over them. Nothing is asked of any server.

    store: where a sync would deliver to (`server.place`). What was delivered to another one is pending here.
    """
    last = read_last_sync(root)
    found = []
    for path in all_runs(root):
        name = path.relative_to(root).as_posix()
        try:
            found.append(_pending(name, open_existing(path), last, store))
        except (TrackyardError, OSError) as error:
            why = str(error) if isinstance(error, OSError) else error.what
            found.append(
                RunPending(path=name, spooled=0, delivered=0, refused=0, torn=0, damaged=0, store="", at_ms=0, why=why)
            )
    return found, last


def _pending(name: str, run: RunDirectory, last: LastSync | None, store: str) -> RunPending:
    known = read_synced(run)
    if known is not None and known.store not in ("", store):
        known = None
    spools = sorted(run.spool.glob("attempt-*.jsonl"), key=spooled_attempt)
    parts = {path.name: read_spool(path) for path in spools}
    offsets: Mapping[str, int] = {} if known is None else known.offsets
    left = sum(len(line.points) for line in undelivered(parts, offsets, PointCensus()))
    spooled = sum(len(line.points) for line in undelivered(parts, {}, PointCensus()))
    refused = 0 if known is None else sum(known.refused.values())
    why = ""
    if last is not None and last.store == store:
        why = last.failed.get(name, "") or (last.why if left else "")
    elif left:
        why = "no sync has run here" if last is None else f"the last sync here was not to {store}"
    return RunPending(
        path=name,
        spooled=spooled,
        delivered=spooled - left - refused,
        refused=refused,
        torn=sum(part.torn for part in parts.values()),
        damaged=sum(part.damaged for part in parts.values()),
        store="" if known is None else known.store,
        at_ms=0 if known is None else known.at_ms,
        why=why,
    )
