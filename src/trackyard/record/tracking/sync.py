"""Delivery of spools to MLflow: sync twice is sync once, and so is sync killed anywhere and repeated.

Which points go is decided by the spools alone (`record.points`), and MLflow stores a point that it has already (same
key, value, step and timestamp) once; so repeating any part is harmless. The offsets in spool/synced.json, written after
each batch, only save work: losing them costs a replay, never a duplicate.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from trackyard.errors import EnvironmentLacking, TrackyardError
from trackyard.exclusive import exclusive
from trackyard.record.facts import OPEN, status
from trackyard.record.rundir import RunDirectory, all_runs, open_existing
from trackyard.record.tracking.delivery import Delivery, SyncReport
from trackyard.record.tracking.reading import Reading
from trackyard.record.tracking.server import (
    LONG,
    OutOfTime,
    Patience,
    Unreachable,
    Waiting,
    place,
    require_reachable,
)
from trackyard.record.tracking.settled import is_settled
from trackyard.record.tracking.store import RunGone, TrackingStore
from trackyard.record.tracking.synced import LastSync, write_last_sync
from trackyard.record.tracking.tree import Tree

__all__ = ["Readings", "SyncReport", "sync_all", "sync_run"]

LOCK = ".sync.lock"

Readings = dict[Path, Reading]
"""What was read of runs that are still going on, so that the next pass reads only what is new."""


def sync_run(path: Path, tracking_uri: str, *, patience: Patience = LONG) -> SyncReport:
    """Deliver what is new in the run directory `path`.

    An unreachable store gives a report with a warning. Raises TrackyardError if another sync runs, if the store refuses
    what it is sent, or if the run directory is not the run it says.
    """
    run = open_existing(path)
    with _single_writer(run.root, 0.0):
        try:
            store = _open(tracking_uri, Waiting(patience=patience))
            tree = Tree(store)
            report = _deliver(run, store, tree, {})
            if report.warning is None:
                tree.settle()
        except Unreachable as error:
            return SyncReport(run_id=run.spec.run_id, warning=error)
        if report.warning is not None and not report.unreachable:
            raise report.warning
        return report


def sync_all(
    root: Path,
    tracking_uri: str,
    *,
    patience: Patience = LONG,
    only_changed: bool = False,
    readings: Readings | None = None,
    lock_wait_s: float = 0.0,
) -> list[SyncReport]:
    """Deliver what is new in every run below `root`; a run that fails is reported and does not hold up the others.

    only_changed: runs that look as they did when they were delivered are passed over, without asking the store whether
    it still has them. readings: what an earlier pass read, kept up to date. lock_wait_s: how long another sync is
    waited for.
    """
    reports: list[SyncReport] = []
    waiting = Waiting(patience=patience)
    paths = all_runs(root)
    if not paths:
        return reports
    readings = {} if readings is None else readings
    with _files_of(root), _single_writer(root, lock_wait_s):
        failed: dict[Path, str] = {}
        runs = _opened(paths, reports, failed)
        if only_changed:
            runs = _changed(runs, tracking_uri, reports, failed)
        waits = _parents_first(runs)
        silence = _deliver_all(waits, tracking_uri, waiting, readings, reports, failed) if waits else None
        why = "" if silence is None else silence.what
        by_path = {path.relative_to(root).as_posix(): what for path, what in failed.items()}
        last = LastSync(store=place(tracking_uri), at_ms=time.time_ns() // 1_000_000, why=why, failed=by_path)
        write_last_sync(root, last)
    return reports


def _opened(paths: Sequence[Path], reports: list[SyncReport], failed: dict[Path, str]) -> list[RunDirectory]:
    """The runs in `paths`; of one that cannot be read a report, and what is wrong with it."""
    runs: list[RunDirectory] = []
    for path in paths:
        try:
            with _files_of(path):
                runs.append(open_existing(path))
        except TrackyardError as error:
            reports.append(SyncReport(run_id=path.name, warning=error))
            failed[path] = error.what
    return runs


def _changed(
    runs: Sequence[RunDirectory], uri: str, reports: list[SyncReport], failed: dict[Path, str]
) -> list[RunDirectory]:
    """Those of `runs` that may have something to deliver to `uri`; of one that cannot be told a report, as above."""
    found: list[RunDirectory] = []
    for run in runs:
        try:
            with _files_of(run.path):
                if not is_settled(run, uri):
                    found.append(run)
        except TrackyardError as error:
            reports.append(SyncReport(run_id=run.spec.run_id, warning=error))
            failed[run.path] = error.what
    return found


@contextmanager
def _files_of(path: Path) -> Iterator[None]:
    """EnvironmentLacking for what a disk refuses inside the block, which reads and notes what lies in `path`."""
    try:
        yield
    except OSError as error:
        raise EnvironmentLacking(
            what=f"{path}: {error}",
            why="what is spooled there stays, and cannot be delivered before it can be read and its delivery noted",
            fix=f"make {path} readable and writable for this user, with free space (`df -h {path}`), then "
            "`trackyard record sync`",
        ) from error


def _deliver_all(
    runs: Sequence[RunDirectory],
    uri: str,
    waiting: Waiting,
    readings: Readings,
    reports: list[SyncReport],
    failed: dict[Path, str],
) -> Unreachable | None:
    """Deliver run after run, adding to `reports` and `failed`. Why the store did not answer, if it did not."""
    silence: Unreachable | None = None
    trouble: Unreachable | None = None
    try:
        store = _open(uri, waiting)
        tree = Tree(store)
    except Unreachable as error:
        silence = error
    for run in runs:
        if silence is not None:
            # Each of the others would wait for the same store.
            reports.append(SyncReport(run_id=run.spec.run_id, warning=silence))
            continue
        report = _deliver(run, store, tree, readings)
        reports.append(report)
        if report.warning is not None:
            failed[run.path] = report.warning.what
        # A store may fail on one run alone, again and again. Of two in a row it is the store.
        before, trouble = trouble, report.warning if isinstance(report.warning, Unreachable) else None
        if trouble is not None and (before is not None or isinstance(trouble, OutOfTime)):
            silence = trouble
    silence = silence or trouble
    if silence is None:
        try:
            tree.settle()
        except TrackyardError as error:
            reports[-1].warning = reports[-1].warning or error
            if isinstance(error, Unreachable):
                silence = error
            else:
                failed[runs[-1].path] = error.what
    return silence


def _open(uri: str, waiting: Waiting) -> TrackingStore:
    require_reachable(uri, waiting.left_s())
    return TrackingStore(uri, waiting=waiting)


def _deliver(run: RunDirectory, store: TrackingStore, tree: Tree, readings: Readings) -> SyncReport:
    """One run; anew and whole where what was delivered before is gone from the store. What failed is in the report."""
    reading = readings.pop(run.path, None)
    if reading is None or not reading.follows(run.spool):
        reading = Reading()
    delivery = Delivery(run, store, tree, reading)
    try:
        with _files_of(run.path):
            try:
                delivery.deliver()
            except RunGone:
                reading = Reading()
                delivery = Delivery(run, store, tree, reading, anew=True)
                delivery.deliver()
    except TrackyardError as error:
        delivery.report.warning = error
        return delivery.report
    if status(reading.facts)[0] in OPEN:
        readings[run.path] = reading
    return delivery.report


def _parents_first(runs: Sequence[RunDirectory]) -> list[RunDirectory]:
    """Runs in an order in which the store knows the parent of each before it, as far as the parent is here."""
    parents = {run.spec.run_id: run.spec.parent for run in runs}

    def depth(run_id: str | None) -> int:
        # A run's id is a digest of its parent's, so this comes to an end.
        steps = 0
        while run_id is not None:
            run_id, steps = parents.get(run_id), steps + 1
        return steps

    return sorted(runs, key=lambda run: depth(run.spec.run_id))


def _single_writer(root: Path, wait_s: float) -> AbstractContextManager[None]:
    """The lock of all syncs of `root`. InUse if another has it for longer than `wait_s`."""
    why = "two syncs at once could both create the same run in MLflow"
    return exclusive(root / LOCK, what=f"the sync of {root}", why=why, wait_s=wait_s)
