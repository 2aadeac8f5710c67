"""What has become of the jobs of a graph, by order of truth: their own completion records, our notes, then Slurm.

Unknown stays unknown: a job of which Slurm says nothing is neither failed nor done. Source: pains 19, hpc spec 4.3.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from trackyard.launch.jobs.graph import Job
from trackyard.launch.jobs.store import Ended, Kept
from trackyard.launch.slurm.client import SlurmClient
from trackyard.launch.slurm.states import Seen

CANCELLED = "cancelled"
NOT_SUBMITTED = "not submitted"
UNKNOWN = "unknown"
GOOD = frozenset({"done", "unchanged"})
ALIVE = frozenset({"pending", "running", "requeued"})
OPEN = ALIVE | {UNKNOWN}
"""May still change. Every other state but those of GOOD is an end that `trackyard retry` begins anew."""


@dataclass(frozen=True, kw_only=True, slots=True)
class JobStatus:
    """How a job stands. state: of Slurm (pending, running, timeout, …), or done, unchanged, failed, given up,
    not submitted. detail: why, for people. lives: begun so far under this id. elapsed_s: of these, together.
    failed_ancestor: the job that kept this one from running.
    """

    name: str
    stage: str
    state: str
    detail: str
    slurm_id: str | None
    lives: int
    elapsed_s: float
    failed_ancestor: str | None = None

    @property
    def is_bad(self) -> bool:
        return self.state not in GOOD and self.state not in OPEN


def status(kept: Kept, client: SlurmClient) -> list[JobStatus]:
    """How all jobs of a graph stand, in its order. Asks Slurm only of those that have not ended by their own record."""
    ids = {job.name: current_id(kept, job.name) for job in kept.graph.jobs}
    ended = {job.name: _ended(kept, job.name, ids[job.name]) for job in kept.graph.jobs}
    asked = [found for name, found in ids.items() if found is not None and ended[name] is None]
    seen = client.seen(asked) if asked else {}
    known: dict[str, JobStatus] = {}
    for job in kept.graph.jobs:
        own = _own(kept, job, ids[job.name], ended[job.name], seen)
        known[job.name] = _behind(own, job, known)
    return list(known.values())


def current_id(kept: Kept, job: str) -> str | None:
    """The Slurm id of the newest submission of `job`; None before the first."""
    found = kept.submissions(job)
    return str(found[-1]["slurm_id"]) if found else None


def _ended(kept: Kept, job: str, slurm_id: str | None) -> Ended | None:
    """The completion record, unless the job was submitted, or restarted, since it failed."""
    found = kept.ended(job)
    if found is None or found.state in GOOD:
        return found
    lines = kept.attempts(job)
    restarted = bool(lines) and lines[-1]["event"] == "began" and lines[-1]["slurm_id"] == found.slurm_id
    return found if found.slurm_id == slurm_id and not restarted else None


def _own(kept: Kept, job: Job, slurm_id: str | None, ended: Ended | None, seen: Mapping[str, Seen]) -> JobStatus:
    lines = [line for line in kept.attempts(job.name) if line["slurm_id"] == slurm_id]
    state, detail = _state(kept, job.name, slurm_id, ended, seen, lines)
    return JobStatus(
        name=job.name,
        stage=job.stage,
        state=state,
        detail=detail,
        slurm_id=slurm_id,
        lives=sum(line["event"] == "began" for line in lines),
        elapsed_s=_elapsed_s(lines, running=state == "running"),
    )


def _state(
    kept: Kept,
    job: str,
    slurm_id: str | None,
    ended: Ended | None,
    seen: Mapping[str, Seen],
    lines: list[dict[str, Any]],
) -> tuple[str, str]:
    if ended is not None:
        return ended.state, ended.detail
    if slurm_id is None:
        cut_off = kept.in_doubt(kept.graph.job(job).array or job)
        return NOT_SUBMITTED, "as far as is noted: `trackyard retry` finds it by its name if it was" if cut_off else ""
    found = seen.get(slurm_id)
    cancelled = any(line["event"] == CANCELLED for line in lines)
    if cancelled and (found is None or found.state in (UNKNOWN, "done", CANCELLED)):
        return CANCELLED, "by trackyard cancel"
    if found is None or found.state == UNKNOWN:
        heard = (lines or kept.submissions(job))[-1]["at"]
        return UNKNOWN, f"Slurm says nothing of it; last heard of at {heard}"
    if found.state == "done":
        # Slurm saw exit code 0, and the record that comes before it is not here (yet): network file systems lag.
        return UNKNOWN, f"Slurm ({found.source}) says done, and its completion record is not seen here"
    return found.state, _words(found)


def _words(found: Seen) -> str:
    if found.reason == "BeginTime":
        return "waits until its credential of the life before has expired, about 2 minutes"
    reason = found.reason or ""
    return f"exit code {found.exit_code} {reason}".strip() if found.exit_code else reason


def _behind(own: JobStatus, job: Job, known: Mapping[str, JobStatus]) -> JobStatus:
    """A job that has not begun, and never will because one before it has failed, is cancelled, whatever Slurm says."""
    waits = own.state in ("pending", NOT_SUBMITTED, CANCELLED, UNKNOWN) and own.lives == 0
    if not waits or own.detail == "by trackyard cancel":
        return own
    for before in (known[name] for name in job.after):
        if before.is_bad:
            ancestor = before.failed_ancestor or before.name
            how = known[ancestor].state
            return replace(own, state=CANCELLED, detail=f"waited for {ancestor}: {how}", failed_ancestor=ancestor)
    return own


def _elapsed_s(lines: list[dict[str, Any]], *, running: bool) -> float:
    """Time of all lives; of one that left no end only while it runs."""
    total, began = 0.0, None
    for line in lines:
        at = datetime.fromisoformat(line["at"])
        if line["event"] == "began":
            began = at
        elif line["event"] == "ended" and began is not None:
            total, began = total + (at - began).total_seconds(), None
    if began is not None and running:
        total += (datetime.now(UTC) - began).total_seconds()
    return total
