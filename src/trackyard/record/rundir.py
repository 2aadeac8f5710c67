"""The directory of one run: runs/<track>/<stage>/<run_id>/ (design section 4).

It outlives processes: each process life appends one attempt and one spool file, and rewrites nothing of the others.
"""

from __future__ import annotations

import errno
import json
import os
import socket
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from trackyard.durable import TEMPORARY, fsync_directory
from trackyard.errors import EnvironmentLacking, IdentityError
from trackyard.record.identity import RunSpec, read_spec, require_same, write_spec
from trackyard.schema import read_document, write_document

PLAN_SCHEMA = "trackyard-plan-link/1"

SPEC = "spec.json"
JOB_VARIABLE = "TRACKYARD_JOB"
"""Set in batch jobs: <graph>/<job> of `trackyard status`."""

_REMEDY = {
    errno.EROFS: "mount it writable (Apptainer: --bind <host directory>:{path}), or link runs/ to another disk",
    errno.ENOSPC: "free space there (`du -sh runs/*/*/*` shows what old runs hold), or link runs/ to another disk",
    errno.EDQUOT: "free quota there (`du -sh runs/*/*/*` shows what old runs hold), or link runs/ to another disk",
}
_ANY_REMEDY = "make {path} a directory that you may write to, or link runs/ to another disk"


@dataclass(frozen=True, kw_only=True, slots=True)
class Attempt:
    """One process life of a run. number: from 1. started: ISO 8601, UTC. job: the batch job it was part of, if any."""

    number: int
    host: str
    pid: int
    started: str
    job: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class RunDirectory:
    """Paths and bookkeeping of one run."""

    path: Path
    spec: RunSpec

    @property
    def root(self) -> Path:
        """The directory of all runs."""
        return self.path.parents[2]

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def spool(self) -> Path:
        return self.path / "spool"

    @property
    def plan(self) -> Path:
        return self.path / "plan.json"

    @property
    def lineage(self) -> Path:
        return self.path / "lineage.json"

    @property
    def result(self) -> Path:
        return self.path / "result.json"

    @property
    def log(self) -> Path:
        return self.path / "log.txt"

    def link_plan(self, plan: Path, fingerprint: str) -> None:
        """Write plan.json: where the plan lies and which one it is.

        IdentityError if it is not the spec's plan, or if the run is linked to another one already.
        """
        self._require_plan(fingerprint, plan)
        if self.plan.exists():
            self.linked_plan()
        target = os.path.relpath(plan.resolve(), self.path.resolve())
        write_document(self.plan, PLAN_SCHEMA, {"path": target, "fingerprint": fingerprint})

    def linked_plan(self) -> Path:
        """The directory of the plan that `link_plan` named. DataError without one, IdentityError for another plan."""
        link = read_document(self.plan, PLAN_SCHEMA, fix=f"run `trackyard run {self.spec.track} {self.spec.stage}`")
        plan = (self.path / str(link.get("path"))).resolve()
        self._require_plan(str(link.get("fingerprint")), plan)
        return plan

    def _require_plan(self, fingerprint: str, plan: Path) -> None:
        if fingerprint != self.spec.plan:
            raise IdentityError(
                what=f"the plan {plan} has fingerprint {fingerprint}, run {self.spec.run_id} is of {self.spec.plan}",
                why="a resume on another plan would repeat some examples and skip others",
                fix="bring back the data and the params.yaml of the run, which give its plan again, "
                f"`rm {self.plan}`, and repeat the command; or start a new run with the new plan",
            )

    def attempts(self) -> list[Attempt]:
        """All attempts so far, oldest first. A line torn by a kill is no attempt: nothing had begun yet."""
        found = []
        for line in self._attempt_lines():
            try:
                found.append(Attempt(**json.loads(line)))
            except ValueError:
                continue
        return found

    def new_attempt(self) -> Attempt:
        """Append and return the next attempt. The caller holds the run lock."""
        numbers = [attempt.number for attempt in self.attempts()]
        # A spool file counts too: its number must never be used twice, whatever happened to attempts.jsonl.
        numbers += [spooled_attempt(path) for path in self.spool.glob("attempt-*.jsonl")]
        attempt = Attempt(
            number=max(numbers, default=0) + 1,
            host=socket.gethostname(),
            pid=os.getpid(),
            started=datetime.now(UTC).isoformat(timespec="seconds"),
            job=os.environ.get(JOB_VARIABLE),
        )
        lines = self._attempt_lines()
        torn = "\n" if lines and lines[-1] else ""
        try:
            with open(self._attempts_path, "a", encoding="utf-8") as handle:
                handle.write(torn + json.dumps(asdict(attempt)) + "\n")
                handle.flush()
                os.fsync(handle.fileno())
        except OSError as error:
            raise _unwritable(self.path, error) from error
        return attempt

    @property
    def _attempts_path(self) -> Path:
        return self.path / "attempts.jsonl"

    def _attempt_lines(self) -> list[str]:
        path = self._attempts_path
        return path.read_text(encoding="utf-8").split("\n") if path.exists() else []


def spooled_attempt(path: Path) -> int:
    """The attempt that wrote a spool file: 12 of attempt-0012.jsonl."""
    return int(path.stem.rpartition("-")[2])


def open_or_create(root: Path, spec: RunSpec) -> RunDirectory:
    """The directory of `spec` below `root`, made if absent and proved writable.

    Raises EnvironmentLacking where nothing can be written, IdentityError if what lies there is another run.
    """
    directory = RunDirectory(path=root / spec.track / spec.stage / spec.run_id, spec=spec)
    try:
        for path in (directory.path, directory.checkpoints, directory.spool):
            path.mkdir(parents=True, exist_ok=True)
        # Permission bits say nothing to root and little on network file systems: only writing proves it.
        probe = directory.path / f"{TEMPORARY}probe.{socket.gethostname()}.{os.getpid()}"
        probe.write_bytes(b"\0" * 4096)
        probe.unlink(missing_ok=True)  # the run may be going on elsewhere, and sweep
        if not (directory.path / SPEC).exists():
            write_spec(directory.path / SPEC, spec)
        fsync_directory(directory.path)
    except OSError as error:
        raise _unwritable(directory.path, error) from error
    require_same(read_spec(directory.path / SPEC), spec)
    return directory


def open_existing(path: Path) -> RunDirectory:
    """The run in `path`, for reading. DataError without a spec.json, IdentityError if it is not the run it is named."""
    spec = read_spec(path / SPEC)
    if path.resolve().parts[-3:] != (spec.track, spec.stage, spec.run_id):
        raise IdentityError(
            what=f"{path} holds the run {spec.track}/{spec.stage}/{spec.run_id}",
            why="a run is found by its directory, and this one was renamed or copied over another",
            fix=f"move it to <runs>/{spec.track}/{spec.stage}/{spec.run_id}",
        )
    return RunDirectory(path=path, spec=spec)


def all_runs(root: Path) -> list[Path]:
    """Directories below `root` that hold a run, sorted."""
    found = (run for track in _folders(root) for stage in _folders(track) for run in _folders(stage))
    return sorted(run for run in found if (run / SPEC).exists())


def _folders(path: Path) -> list[Path]:
    """None in what is gone: other commands make their own things below runs/, under names that last a moment."""
    try:
        with os.scandir(path) as entries:
            return [path / entry.name for entry in entries if entry.is_dir()]
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return []


def _unwritable(path: Path, error: OSError) -> EnvironmentLacking:
    return EnvironmentLacking(
        what=f"nothing can be written to {path}: {error.strerror}",
        why="checkpoints and metrics would be lost at the first save",
        fix=_REMEDY.get(error.errno or 0, _ANY_REMEDY).format(path=path),
    )
