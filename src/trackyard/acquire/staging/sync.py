"""Staging a plan: every entry that is whole, one after the other, and a report of what was done and what was not.

Source: nine-datasets spec section 3, reliability F1 and F11.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Literal

from trackyard.acquire.staging.closure import EntryClosure
from trackyard.acquire.staging.embed import Staged, embed_task, run_embed
from trackyard.acquire.staging.plan import StagingPlan
from trackyard.acquire.staging.raw_folders import RawFolder
from trackyard.acquire.staging.records import Relocate
from trackyard.acquire.staging.rewrite import entry_task, is_finished, raw_task, run_rewrite
from trackyard.acquire.staging.roots import Roots
from trackyard.acquire.staging.shards import SHARD_BYTES
from trackyard.acquire.staging.work import Progress, Watch, never
from trackyard.errors import ConfigError, EnvironmentLacking, StoppedEarly, TrackyardError
from trackyard.exclusive import exclusive
from trackyard.runner import Runner, SystemRunner

SCHEMA = "trackyard-staging-sync/1"
LOCK = ".staging.lock"


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What became of an entry or a raw folder. files, bytes: at the target; copied_files, copied_bytes: of these, what
    this run brought. reason: why it failed."""

    entry: str
    state: Literal["staged", "present", "failed", "waived"]
    files: int = 0
    bytes: int = 0
    copied_files: int = 0
    copied_bytes: int = 0
    reason: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class SyncReport:
    """after_files, after_bytes: of the selection at the target now; files that entries share count once."""

    relocate: Relocate
    outcomes: tuple[Outcome, ...]
    after_files: int
    after_bytes: int

    @property
    def ok(self) -> bool:
        """Everything that was asked for is at the target, and that is something."""
        return self.after_files > 0 and not self.failed

    @property
    def failed(self) -> tuple[Outcome, ...]:
        return tuple(one for one in self.outcomes if one.state == "failed")

    @property
    def copied_files(self) -> int:
        return sum(one.copied_files for one in self.outcomes)

    @property
    def copied_bytes(self) -> int:
        return sum(one.copied_bytes for one in self.outcomes)

    @property
    def before_files(self) -> int:
        return self.after_files - self.copied_files

    @property
    def before_bytes(self) -> int:
        return self.after_bytes - self.copied_bytes

    def document(self) -> dict[str, Any]:
        """The body of `trackyard-staging-sync/1`."""
        return {
            "relocate": self.relocate,
            "ok": self.ok,
            "outcomes": [asdict(one) for one in self.outcomes],
            "before": {"files": self.before_files, "bytes": self.before_bytes},
            "after": {"files": self.after_files, "bytes": self.after_bytes},
            "copied": {"files": self.copied_files, "bytes": self.copied_bytes},
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Action:
    """One thing that a sync would do. dest: the file it would write; bytes: estimated for shards."""

    entry: str
    does: Literal["write shard", "copy", "rewrite paths", "write fingerprint"]
    source: str
    dest: str
    bytes: int


def sync_actions(
    plan: StagingPlan, *, relocate: Relocate = "embed", shard_bytes: int = SHARD_BYTES
) -> tuple[Action, ...]:
    """What `run_sync` would write for the entries that are whole, and nothing of what is there. Nothing changes."""
    target = _target(plan)
    actions: list[Action] = []
    for closed in _whole(plan):
        if relocate == "embed":
            actions += _embed_actions(closed, target, shard_bytes)
        else:
            actions += _rewrite_actions(closed, target)
    if relocate == "rewrite":
        for raw in _raws(plan):
            actions += _rewrite_actions(raw, target)
    return tuple(actions)


def _embed_actions(closed: EntryClosure, target: Roots, shard_bytes: int) -> Iterator[Action]:
    task = embed_task(closed, target, shard_bytes=shard_bytes, write=False)
    for shard in task.pending:
        yield Action(
            entry=closed.entry.name,
            does="write shard",
            source=f"rows {shard.start}-{shard.stop - 1} of {shard.survey.table.name}",
            dest=str(task.folder / shard.path),
            bytes=shard.bytes,
        )


def _rewrite_actions(what: EntryClosure | RawFolder, target: Roots) -> Iterator[Action]:
    task = entry_task(what, target) if isinstance(what, EntryClosure) else raw_task(what, target)
    if is_finished(task, target):
        return
    for copy in task.copies:
        if not (copy.dest.is_file() and copy.dest.stat().st_size == copy.bytes):
            source = str(copy.source / copy.relative)
            yield Action(entry=task.name, does="copy", source=source, dest=str(copy.dest), bytes=copy.bytes)
    for one in task.rewrites:
        dest, size = str(one.dest), one.source_bytes
        yield Action(entry=task.name, does="rewrite paths", source=str(one.source), dest=dest, bytes=size)
    for one in task.states:
        dest, size = str(one.dest), one.source_bytes
        yield Action(entry=task.name, does="write fingerprint", source=str(one.source), dest=dest, bytes=size)


def run_sync(
    plan: StagingPlan,
    *,
    relocate: Relocate = "embed",
    runner: Runner | None = None,
    streams: int = 4,
    progress: Progress | None = None,
    should_stop: Callable[[], bool] = never,
    shard_bytes: int = SHARD_BYTES,
) -> SyncReport:
    """Stage every entry of a plan that is whole; the others are reported as failed, with the reason.

    embed: images go inside shards. rewrite: files are copied, and paths in Arrow files name the target. Whatever was
    finished by an earlier run, however that ended, is not done again. The source is never written to.
    Raises StoppedEarly once `should_stop` is true, TrackyardError at once if another sync works on the target or if it
    does not fit, ConfigError without a target, EnvironmentLacking without rsync.
    """
    target = _target(plan)
    unfit = [problem for problem in plan.problems if not problem.entry]
    if unfit:
        raise TrackyardError(
            what=unfit[0].what, why="the copy would stop half-way, with the target full", fix=unfit[0].fix
        )
    watch = Watch(streams=max(1, streams), progress=progress, should_stop=should_stop)
    runner = runner or SystemRunner()
    outcomes: list[Outcome] = []
    there: dict[str, int] = {}
    with ExitStack() as locks:
        for root in (target.molmo, target.hf_home) if relocate == "rewrite" else (target.molmo,):
            locks.enter_context(
                exclusive(root / LOCK, what=f"the staging target {root}", why="two would write the same files")
            )
        for closed in plan.closures:
            if closed.whole:
                stage = partial(_stage, closed, plan.source, target, relocate, runner, watch, shard_bytes)
                outcomes.append(_tried(closed.entry.name, stage, there))
            else:
                outcomes.append(_left_out(closed.entry.name, plan))
        if relocate == "rewrite":
            for raw in _raws(plan):
                copy = partial(run_rewrite, raw_task(raw, target), plan.source, target, runner, watch)
                outcomes.append(_tried(raw.entry, copy, there))
    return SyncReport(
        relocate=relocate, outcomes=tuple(outcomes), after_files=len(there), after_bytes=sum(there.values())
    )


def _target(plan: StagingPlan) -> Roots:
    if plan.target is None:
        raise ConfigError(what="the plan has no target", why="there is no place to copy to", fix="name one with --to")
    return plan.target


def _whole(plan: StagingPlan) -> Iterator[EntryClosure]:
    yield from (closed for closed in plan.closures if closed.whole)


def _raws(plan: StagingPlan) -> Iterator[RawFolder]:
    yield from (raw for raw in plan.raws if raw.files)


def _stage(
    closed: EntryClosure,
    source: Roots,
    target: Roots,
    relocate: Relocate,
    runner: Runner,
    watch: Watch,
    shard_bytes: int,
) -> Staged:
    watch.check()
    if relocate == "embed":
        return run_embed(embed_task(closed, target, shard_bytes=shard_bytes, write=True), source, watch)
    return run_rewrite(entry_task(closed, target), source, target, runner, watch)


def _left_out(name: str, plan: StagingPlan) -> Outcome:
    reason = "; ".join(problem.what for problem in plan.problems if problem.entry == name)
    return Outcome(entry=name, state="waived" if name in plan.waivers else "failed", reason=reason)


def _tried(name: str, stage: Callable[[], Staged], there: dict[str, int]) -> Outcome:
    """The outcome of staging one thing. What concerns only it is reported, so that the rest is still finished.

    there: takes the files that are at the target.
    """
    try:
        done = stage()
    except (StoppedEarly, EnvironmentLacking):
        raise
    except TrackyardError as error:
        return Outcome(entry=name, state="failed", reason=f"{error.what} ({error.fix})")
    except OSError as error:
        return Outcome(entry=name, state="failed", reason=str(error))
    there |= done.listed
    return Outcome(
        entry=name,
        state="staged" if done.copied_files else "present",
        files=len(done.listed),
        bytes=sum(done.listed.values()),
        copied_files=done.copied_files,
        copied_bytes=done.copied_bytes,
    )
