"""The tree of runs in MLflow: which run hangs under which, and the runs that stand for a group.

A run with a group ("study 12ab34cd/arm baseline") hangs in it, whatever it started from; one without a group hangs
under the run whose weights it started from (a fork), as soon as the store has that one.
"""

from __future__ import annotations

from collections.abc import Mapping

from trackyard.record.facts import OPEN, events
from trackyard.record.spool import SpoolPart
from trackyard.record.tracking.attempts import KIND_TAG
from trackyard.record.tracking.server import RUN_TAG, StoredRun
from trackyard.record.tracking.store import PARENT_TAG, TrackingStore

GROUP_TAG = "trackyard.group"


def group_of(parts: Mapping[str, SpoolPart]) -> str | None:
    """The path of group names that a run says it is in; None for none."""
    found = None
    for event in events(parts, "tag"):
        found = event["values"].get(GROUP_TAG, found)
    names = [name.strip() for name in (found or "").split("/")]
    return "/".join(name for name in names if name) or None


class Tree:
    """The tree of one store, for one pass over the runs: what was looked up is remembered."""

    def __init__(self, store: TrackingStore) -> None:
        self._store = store
        self._groups: dict[tuple[str, str], StoredRun] = {}
        self._touched: dict[str, tuple[int, StoredRun]] = {}

    def parent(self, experiment: str, *, group: str | None, parent_run: str | None, start_ms: int) -> str | None:
        """The MLflow run to hang a run under; None where there is none, or not yet. start_ms: of the run."""
        if group is not None:
            return self._group(experiment, group, start_ms).id
        if parent_run is None:
            return None
        found = self._store.find(experiment, {RUN_TAG: parent_run})
        return found[0].id if found else None

    def _group(self, experiment: str, path: str, start_ms: int) -> StoredRun:
        above, _, name = path.rpartition("/")
        parent = self._group(experiment, above, start_ms) if above else None
        if (experiment, path) not in self._groups:
            tags = {} if parent is None else {PARENT_TAG: parent.id}
            self._groups[experiment, path] = self._store.one(
                experiment, {KIND_TAG: "group", GROUP_TAG: path}, name=name, start_ms=start_ms, tags=tags
            )
        found = self._groups[experiment, path]
        self._touched[found.id] = (path.count("/"), found)
        return found

    def settle(self) -> None:
        """Bring the status of every group that was touched up to date with its members, the deepest first."""
        for _, group in sorted(self._touched.values(), key=lambda item: -item[0]):
            members = self._store.find(group.experiment, {PARENT_TAG: group.id})
            if any(member.status in OPEN for member in members):
                state, ended_ms = "RUNNING", None
            else:
                ended_ms = max((member.end_ms for member in members if member.end_ms is not None), default=None)
                state = "FINISHED"
            if (state, ended_ms) != (group.status, group.end_ms):
                self._store.status(group, state, ended_ms)
        self._touched.clear()
