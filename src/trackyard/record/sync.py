"""Delivery of spools to MLflow: sync twice is sync once, and so is sync killed anywhere and repeated.

Which points go is decided by the spools alone (`record.points`), and MLflow stores a point that it has already (same
key, value, step and timestamp) once; so repeating any part is harmless. The offsets in spool/synced.json, written after
each batch, only save work: losing them costs a replay, never a duplicate.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path

from pydantic import Field, ValidationError

from trackyard.digest import digest_file, digest_json
from trackyard.errors import DataError, TrackyardError
from trackyard.exclusive import exclusive
from trackyard.parameters import Parameters
from trackyard.record.facts import describe, events, identity_tags, status
from trackyard.record.points import PointCensus, batches, undelivered
from trackyard.record.rundir import SPEC, RunDirectory, all_runs, open_existing, spooled_attempt
from trackyard.record.spool import read_spool
from trackyard.record.tracking import TrackingStore, Unreachable, require_reachable
from trackyard.schema import read_document, write_document

SCHEMA = "trackyard-synced/1"
STATE = "synced.json"
LOCK = ".sync.lock"

LARGEST_ARTIFACT = 8 << 20
"""Bytes. Larger files belong to DVC; MLflow gets none of them."""


@dataclass(kw_only=True, slots=True)
class SyncReport:
    """What one sync of one run did.

    points: delivered now. torn, damaged: lines of the spool that cannot be read (cut by a kill; no JSON). nonfinite,
    differences: see PointCensus, over the whole spool. skipped_artifacts: absent, too large or outside the run
    directory. warning: why delivery stopped early; None for a complete sync.
    """

    run_id: str
    points: int = 0
    torn: int = 0
    damaged: int = 0
    nonfinite: int = 0
    differences: dict[str, int] = field(default_factory=dict)
    skipped_artifacts: list[str] = field(default_factory=list)
    warning: TrackyardError | None = None

    @property
    def unreachable(self) -> bool:
        """True where the store did not answer: everything undelivered stays in the spool."""
        return isinstance(self.warning, Unreachable)


def sync_run(path: Path, tracking_uri: str) -> SyncReport:
    """Deliver what is new in the run directory `path`.

    An unreachable store gives a report with a warning within seconds. Raises TrackyardError if another sync runs, if
    the store refuses what it is sent, or if the run directory is not the run it says.
    """
    run = open_existing(path)
    with _single_writer(run.root):
        try:
            require_reachable(tracking_uri)
            store = TrackingStore(tracking_uri)
        except Unreachable as error:
            return SyncReport(run_id=run.spec.run_id, warning=error)
        return _deliver(run, store)


def sync_all(root: Path, tracking_uri: str) -> list[SyncReport]:
    """Deliver what is new in every run below `root`; a run that fails is reported and does not hold up the others."""
    reports: list[SyncReport] = []
    paths = all_runs(root)
    if not paths:
        return reports
    with _single_writer(root):
        try:
            require_reachable(tracking_uri)
            store = TrackingStore(tracking_uri)
        except Unreachable as error:
            return [SyncReport(run_id=path.name, warning=error) for path in paths]
        for path in paths:
            try:
                reports.append(_deliver(open_existing(path), store))
            except TrackyardError as error:
                reports.append(SyncReport(run_id=path.name, warning=error))
    return reports


def _single_writer(root: Path) -> AbstractContextManager[None]:
    return exclusive(
        root / LOCK, what=f"the sync of {root}", why="two syncs at once could both create the same run in MLflow"
    )


class _Delivered(Parameters):
    """What is known to be in the store: of that run there; of any other nothing is known.

    offsets: bytes delivered, by spool file. described: digest of the description. artifacts: path -> blake3.
    """

    mlflow_run: str
    offsets: dict[str, int] = Field(default_factory=dict)
    described: str = ""
    artifacts: dict[str, str] = Field(default_factory=dict)


def _deliver(run: RunDirectory, store: TrackingStore) -> SyncReport:
    spools = sorted(run.spool.glob("attempt-*.jsonl"), key=spooled_attempt)
    parts = {path.name: read_spool(path) for path in spools}
    report = SyncReport(
        run_id=run.spec.run_id,
        torn=sum(part.torn for part in parts.values()),
        damaged=sum(part.damaged for part in parts.values()),
    )
    census = PointCensus()
    try:
        stored = store.run(
            experiment=run.spec.track,
            run_id=run.spec.run_id,
            name=f"{run.spec.stage} · {run.spec.run_id}",
            start_ms=_started_ms(run),
            tags=identity_tags(run.spec),
        )
        known = _read_state(run, stored.id)
        for batch in batches(undelivered(parts, known.offsets, census)):
            points = [point for line in batch for point in line.points]
            store.points(stored, points)
            report.points += len(points)
            ends = {line.file: line.end for line in batch}
            known = _write_state(run, known.model_copy(update={"offsets": {**known.offsets, **ends}}))
        report.nonfinite, report.differences = len(census.nonfinite), census.differences
        description = describe(run.spec, parts, census)
        described = digest_json(asdict(description))
        if described != known.described:
            store.describe(stored, params=description.params, tags=description.tags, datasets=description.datasets)
            known = _write_state(run, known.model_copy(update={"described": described}))
        for name in dict.fromkeys([SPEC, *(event["path"] for event in events(parts, "artifact"))]):
            path = _artifact(run, name)
            if path is None:
                report.skipped_artifacts.append(name)
            elif (digest := digest_file(path)) != known.artifacts.get(name):
                folder = path.parent.relative_to(run.path.resolve()).as_posix()
                store.artifact(stored, path, "" if folder == "." else folder)
                known = _write_state(run, known.model_copy(update={"artifacts": {**known.artifacts, name: digest}}))
        state, ended_ms = status(parts)
        if state != stored.status:
            store.status(stored, state, ended_ms)
    except Unreachable as error:
        report.warning = error
    return report


def _artifact(run: RunDirectory, name: str) -> Path | None:
    """The file of an artifact, or None where there is nothing that may be shown."""
    base = run.path.resolve()
    path = (base / name).resolve()
    # Links out of the run directory are not followed: they would show any file to everyone who reads MLflow.
    if path.is_relative_to(base) and path.is_file() and path.stat().st_size <= LARGEST_ARTIFACT:
        return path
    return None


def _started_ms(run: RunDirectory) -> int:
    attempts = run.attempts()
    started = datetime.fromisoformat(attempts[0].started).timestamp() if attempts else (run.path / SPEC).stat().st_mtime
    return int(started * 1000)


def _read_state(run: RunDirectory, mlflow_run: str) -> _Delivered:
    path = run.spool / STATE
    if not path.exists():
        return _Delivered(mlflow_run=mlflow_run)
    fix = f"rm {path}   (the next sync replays the spool, without duplicates)"
    document = read_document(path, SCHEMA, fix=fix)
    try:
        known = _Delivered.model_validate({key: value for key, value in document.items() if key != "schema"})
    except ValidationError as error:
        raise DataError(
            what=f"{path}: {error.errors()[0]['loc']}: {error.errors()[0]['msg']}",
            why="what was delivered cannot be read from it",
            fix=fix,
        ) from error
    return known if known.mlflow_run == mlflow_run else _Delivered(mlflow_run=mlflow_run)


def _write_state(run: RunDirectory, known: _Delivered) -> _Delivered:
    write_document(run.spool / STATE, SCHEMA, known.model_dump())
    return known
