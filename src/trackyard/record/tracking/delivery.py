"""One run into the tracking store: what is new of it, in an order in which it can be cut anywhere and repeated."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from trackyard.digest import digest_json
from trackyard.errors import TrackyardError
from trackyard.record.facts import describe, events, identity_tags, status
from trackyard.record.points import Line, batches, undelivered
from trackyard.record.rundir import SPEC, RunDirectory
from trackyard.record.tracking.artifacts import changed_artifacts, listed, referenced
from trackyard.record.tracking.attempts import deliver_attempt, machines
from trackyard.record.tracking.reading import Reading
from trackyard.record.tracking.registry import register, tracked_exports
from trackyard.record.tracking.server import OutOfTime, Point, StoredRun, Unreachable, database, place
from trackyard.record.tracking.settled import Look, looks, model_files, spools
from trackyard.record.tracking.store import PARENT_TAG, RunGone, TrackingStore
from trackyard.record.tracking.synced import AttemptSynced, Synced, read_synced, write_synced
from trackyard.record.tracking.tree import Tree, group_of

NAME_TAG = "mlflow.runName"

DELIVERED_TAG = "trackyard.delivered_bytes"
"""Of the spool, set when all of them are in the store: a store that was restored from a backup says fewer than this
side knows, and gets everything again."""

IN_FLIGHT = 3
"""Requests with points at once, to a server: each of its workers answers one at a time."""


@dataclass(kw_only=True, slots=True)
class SyncReport:
    """What one sync of one run did.

    points: delivered now. torn, damaged: lines of the spool that cannot be read (cut by a kill; no JSON). nonfinite,
    differences: see PointCensus, over the whole spool. refused: points that the store does not take, by metric.
    referenced: artifacts too large for MLflow, which lists them. skipped_artifacts: absent or outside the run
    directory. registered: versions of models made now. warning: why delivery stopped early; None for a complete sync.
    """

    run_id: str
    points: int = 0
    torn: int = 0
    damaged: int = 0
    nonfinite: int = 0
    differences: dict[str, int] = field(default_factory=dict)
    refused: dict[str, int] = field(default_factory=dict)
    referenced: list[str] = field(default_factory=list)
    skipped_artifacts: list[str] = field(default_factory=list)
    registered: list[str] = field(default_factory=list)
    warning: TrackyardError | None = None

    @property
    def unreachable(self) -> bool:
        """True where the store did not answer: everything undelivered stays in the spool."""
        return isinstance(self.warning, Unreachable)


class Delivery:
    """Delivery of one run. reading: of its spools so far, without points that are not delivered. anew: whatever is
    known to be delivered."""

    def __init__(
        self, run: RunDirectory, store: TrackingStore, tree: Tree, reading: Reading, *, anew: bool = False
    ) -> None:
        self._run, self._store, self._tree = run, store, tree
        self._reading, self._anew = reading, anew
        self._known = Synced(mlflow_run="")
        self._seen: dict[str, Look] = {}
        self.report = SyncReport(run_id=run.spec.run_id)

    def deliver(self) -> None:
        """Deliver everything that is new; `report` says how far it came, also where this raises."""
        run, report, reading = self._run, self.report, self._reading
        stored = self._stored()
        known = None if self._anew else read_synced(run)
        told = stored.tags.get(DELIVERED_TAG, "")
        if known is None or known.mlflow_run != stored.id or told not in (known.told, _delivered(known)):
            if reading.facts:
                raise RunGone(
                    what=f"run {run.spec.run_id} in MLflow is not what was delivered before",
                    why="what was delivered to another run, or before a backup was restored, is no longer shown",
                    fix="`trackyard record sync` delivers everything again",
                )
            known = Synced(mlflow_run=stored.id, told=told)
        self._known = known
        self._look(spools(run))
        reading.read_on(run.spool)
        report.torn, report.damaged = reading.torn, reading.damaged
        self._points(stored)
        report.nonfinite, report.differences = len(reading.census.nonfinite), reading.census.differences
        report.refused = dict(self._known.refused)
        linked = self._describe(stored)
        state, ended_ms = status(reading.facts)
        if (state, ended_ms) != (stored.status, stored.end_ms):
            self._store.status(stored, state, ended_ms)
        self._attempts(stored)
        self._artifacts(stored)
        self._models(stored)
        now = _delivered(self._known)
        if now != told:
            self._store.describe(stored, params={}, tags={DELIVERED_TAG: now}, datasets=[])
        self._save(
            told=now,
            settled=digest_json(self._seen) if linked else "",
            store=place(self._store.uri),
            at_ms=time.time_ns() // 1_000_000,
        )

    def _stored(self) -> StoredRun:
        run = self._run
        return self._store.run(
            experiment=run.spec.track,
            run_id=run.spec.run_id,
            name=_name(run, {}),
            start_ms=_started_ms(run),
            tags=identity_tags(run.spec),
        )

    def _points(self, stored: StoredRun) -> None:
        """Batches in order; to a server several at a time, of which those that failed are sent again one by one."""
        sent: list[tuple[list[Line], Future[Mapping[str, int]]]] = []
        most = 1 if database(self._store.uri) else IN_FLIGHT
        with ThreadPoolExecutor(most) as pool:
            for batch in batches(undelivered(self._reading.new, self._known.offsets, self._reading.census)):
                sent.append((batch, pool.submit(self._store.points, stored, points_of(batch))))
                if len(sent) >= most:
                    self._settle(stored, *sent.pop(0))
            while sent:
                self._settle(stored, *sent.pop(0))

    def _settle(self, stored: StoredRun, batch: list[Line], answer: Future[Mapping[str, int]]) -> None:
        """Note what was delivered. Offsets only ever grow in order, so a later batch that arrived is sent once more."""
        try:
            refused = answer.result()
        except OutOfTime:
            raise
        except Unreachable:
            # A database may refuse two batches of one run at once.
            refused = self._store.points(stored, points_of(batch))
        self.report.points += len(points_of(batch)) - sum(refused.values())
        ends = {line.file: line.end for line in batch}
        counts = self._known.refused
        self._save(
            offsets={**self._known.offsets, **ends},
            refused={key: counts.get(key, 0) + refused.get(key, 0) for key in {*counts, *refused}},
        )

    def _describe(self, stored: StoredRun) -> bool:
        """Send parameters, tags and data sets if they changed. Whether the run hangs where it belongs."""
        spec, reading = self._run.spec, self._reading
        description = describe(spec, reading.facts, reading.census, self._known.refused)
        group = group_of(reading.facts)
        parent = self._tree.parent(
            stored.experiment, group=group, parent_run=spec.parent, start_ms=_started_ms(self._run)
        )
        tags = description.tags | ({} if parent is None else {PARENT_TAG: parent})
        described = digest_json(asdict(description) | {"tags": tags})
        if described != self._known.described:
            self._store.describe(stored, params=description.params, tags=tags, datasets=description.datasets)
            name = _name(self._run, tags)
            if name != stored.tags.get(NAME_TAG):
                self._store.rename(stored, name)
            self._save(described=described)
        return parent is not None or spec.parent is None

    def _attempts(self, stored: StoredRun) -> None:
        for machine in machines(self._reading):
            before = self._known.attempts.get(machine.file, AttemptSynced(mlflow_run=""))
            after = deliver_attempt(self._store, stored, self._run.spec.run_id, machine, self._reading, before)
            if after != before:
                self._save(attempts={**self._known.attempts, machine.file: after})

    def _artifacts(self, stored: StoredRun) -> None:
        names = list(dict.fromkeys([SPEC, *(event["path"] for event in events(self._reading.facts, "artifact"))]))
        small, large, self.report.skipped_artifacts = listed(self._run.path, names)
        self._look([*small.values(), *large.values()])
        for name, path, digest in changed_artifacts(small, self._known.artifacts):
            folder = Path(name).parent.as_posix()
            self._store.artifact(stored, path, "" if folder == "." else folder)
            self._save(artifacts={**self._known.artifacts, name: digest})
        self.report.referenced = sorted(large)
        references = referenced(large, self._known.references)
        if references != self._known.references:
            table = [{"path": name, "bytes": item.bytes, "blake3": item.blake3} for name, item in references.items()]
            self._store.document(stored, "references.json", table)
            self._save(references=references)

    def _models(self, stored: StoredRun) -> None:
        models = {event["name"]: event["path"] for event in events(self._reading.facts, "model")}
        if models != self._known.models:
            self._save(models=models)
        if not models:
            return
        repository = self._run.root.parent
        self._look(model_files(repository, models))
        for export in tracked_exports(repository, self._run.spec.run_id, models):
            known = self._known.registered.get(export.name, [])
            if export.md5 not in known:
                register(self._store, stored, self._run, export)
                self.report.registered.append(export.name)
                self._save(registered={**self._known.registered, export.name: [*known, export.md5]})

    def _look(self, paths: Iterable[Path]) -> None:
        """Note how files look before they are read: what is written meanwhile is then not taken for delivered."""
        self._seen |= looks(paths)

    def _save(self, **changes: Any) -> None:
        self._known = self._known.model_copy(update=changes)
        write_synced(self._run.spool, self._known)


def points_of(batch: Sequence[Line]) -> list[Point]:
    """Points of all lines, in order."""
    return [point for line in batch for point in line.points]


def _delivered(known: Synced) -> str:
    """What the store is told once everything up to here is in it."""
    return str(sum(known.offsets.values()))


def _name(run: RunDirectory, tags: Mapping[str, str]) -> str:
    """How lists of runs show it: with its arm, where it is one of a study."""
    arm = tags.get("trackyard.arm")
    return f"{run.spec.stage}{f' {arm}' if arm else ''} · {run.spec.run_id}"


def _started_ms(run: RunDirectory) -> int:
    attempts = run.attempts()
    started = datetime.fromisoformat(attempts[0].started).timestamp() if attempts else (run.path / SPEC).stat().st_mtime
    return int(started * 1000)
