"""What a batch job executes: one life of a job, from the look at its inputs to the commit of its outputs.

The record of completion is the last thing that a job writes, and durable: a job that dies before it finds, in its next
life, its stage up to date or the run to continue, and ends in the same way. Source: hpc spec sections 3 and 4.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from trackyard.crash import crash_point
from trackyard.errors import EXIT_FAILED, EXIT_STOPPED_EARLY, TrackyardError
from trackyard.launch.chosen import SITE_VARIABLE
from trackyard.launch.jobs.committing import changes, commit
from trackyard.launch.jobs.graph import Job
from trackyard.launch.jobs.inputs import hash_ahead, inputs_now, require_same_inputs
from trackyard.launch.jobs.lives import Life, job_of, require_newest, this_life
from trackyard.launch.jobs.outputs import clear_outputs
from trackyard.launch.jobs.progress import mark, progressed
from trackyard.launch.jobs.store import Ended, Kept, open_graph
from trackyard.launch.jobs.turn import turn
from trackyard.launch.jobs.verdict import Verdict, verdict
from trackyard.launch.signals import StopFlag, stop_flag
from trackyard.launch.sites import load_site
from trackyard.launch.slurm.client import SlurmClient
from trackyard.launch.slurm.steps import srun_argv
from trackyard.record.rundir import JOB_VARIABLE
from trackyard.redact import Redactor
from trackyard.runner import Runner, SystemRunner, attended

TOLD_S = 3.0
"""A cancelled job hears it in its steps first; the script waits so long for its own SIGTERM before it would requeue."""
SETTLE_S = 60.0
"""How long a job that has asked to be requeued waits for Slurm to end it."""

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Work:
    """One life at work. lives: how many there may be."""

    kept: Kept
    job: Job
    life: Life
    lives: int
    environment: Mapping[str, str]
    runner: Runner
    say: Say

    @property
    def root(self) -> Path:
        return self.kept.root

    @property
    def label(self) -> str:
        return f"{self.kept.graph.id}/{self.job.name}"

    def note(self, event: Literal["began", "ended"], **fields: object) -> None:
        found = Redactor().value(fields)
        self.kept.note_attempt(self.job.name, event=event, slurm_id=self.life.slurm_id, life=self.life.number, **found)

    def end(self, state: Literal["done", "unchanged", "failed", "given up"], exit_code: int, detail: str) -> int:
        """The end of the job: the completion record, then the exit code. detail may be what a program has said."""
        detail = Redactor().text(detail)
        self.note("ended", next=state, exit_code=exit_code, detail=detail)
        crash_point("before-the-record")
        self.kept.note_ended(
            self.job.name,
            Ended(
                state=state,
                exit_code=exit_code,
                detail=detail,
                at=datetime.now(UTC).isoformat(timespec="seconds"),
                slurm_id=self.life.slurm_id,
            ),
        )
        crash_point("after-the-record")
        self.say(f"job       {self.label} {state}" + (f": {detail}" if detail else ""))
        return exit_code


@dataclass(frozen=True, kw_only=True, slots=True)
class _Stopped:
    """A life after which the job is not settled. exit_code: of the stage."""

    verdict: Verdict
    exit_code: int
    progressed: bool


def work(
    root: Path,
    graph_id: str,
    name: str,
    *,
    say: Say,
    environment: Mapping[str, str] | None = None,
    runner: Runner | None = None,
    told_s: float = TOLD_S,
    settle_s: float = SETTLE_S,
) -> int:
    """Live one life of the job `name`, or of the task of the array `name`; returns the exit code of the batch script.

    SIGUSR1 and SIGTERM ask the stage to save and stop (main thread only). Raises what ended the job, foreseen or not,
    after it was recorded as failed; and TrackyardError, with nothing recorded, where a newer submission has its place.
    """
    environment = os.environ if environment is None else environment
    runner = runner or SystemRunner()
    with stop_flag() as stopped:
        kept = open_graph(root, graph_id)
        job, life = job_of(kept.graph, name, environment), this_life(environment)
        lives = load_site(kept.graph.site, root).jobs.attempts
        at_work = _Work(kept=kept, job=job, life=life, lives=lives, environment=environment, runner=runner, say=say)
        earlier = kept.ended(job.name)
        if earlier is not None and earlier.slurm_id == life.slurm_id and earlier.state in ("done", "unchanged"):
            say(f"job       {at_work.label} ended before: {earlier.state}")
            return earlier.exit_code
        require_newest(kept, job, life, environment)
        at_work.note("began", nodes=life.nodes)
        say(f"job       {at_work.label}, life {life.number} of at most {lives}, on {life.nodes or 'this node'}")
        try:
            found = _live(at_work, stopped)
        except Exception as error:
            exit_code, said = _words(error)
            if _told_to_end(stopped):
                # Whoever ends this job ends the programs that it asks, too: their failure says nothing.
                at_work.note("ended", next="left to slurm", exit_code=exit_code, detail=said)
            else:
                at_work.end("failed", exit_code, said)
            raise
        return found if isinstance(found, int) else _requeue(at_work, found, stopped, told_s, settle_s)


def _live(at_work: _Work, stopped: StopFlag) -> int | _Stopped:
    """The exit code of a life that settles the job, or how one stopped that does not."""
    job, root = at_work.job, at_work.root
    if at_work.life.number > at_work.lives:
        return at_work.end("given up", EXIT_FAILED, f"life {at_work.life.number} of at most {at_work.lives}")
    # Parts of a stage find for themselves what is left to do; all of its outputs are looked at by the job that commits.
    looks = job.commits and job.reason != "forced"
    hash_ahead(root, job.stage, outputs=looks)
    with turn(root):
        made_from = inputs_now(root, job.stage)
        require_same_inputs(job.stage, job.inputs, made_from, since="it was submitted")
        if looks and not changes(root, job.stage):
            return at_work.end("unchanged", 0, "its stage is up to date")
        persistent = clear_outputs(root, job.stage, persistent_only=not job.commits)
    track, outputs = _track(job), None if job.needs == "train" else persistent
    before = mark(root, track, outputs)
    exit_code = EXIT_STOPPED_EARLY if stopped() else _stage(at_work, stopped)
    crash_point("after-the-stage")
    further = progressed(before, mark(root, track, outputs), at_work.label)
    found = verdict(
        exit_code=exit_code,
        told_to_end=_told_to_end(stopped),
        progressed=further,
        stalled_before=_stalled(at_work),
        life=at_work.life.number,
        lives=at_work.lives,
    )
    if found.next == "commit":
        return _commit(at_work, made_from)
    if found.next in ("failed", "given up"):
        return at_work.end(found.next, found.exit_code, found.detail)
    return _Stopped(verdict=found, exit_code=exit_code, progressed=further)


def _words(error: Exception) -> tuple[int, str]:
    """Exit code, and what to record of it."""
    if isinstance(error, TrackyardError):
        return error.exit_code, error.what
    return EXIT_FAILED, f"{type(error).__name__}: {error}"


def _track(job: Job) -> str | None:
    """TRACK of `trackyard run TRACK STAGE`; None of another command."""
    words = job.command
    return words[words.index("run") + 1] if "run" in words[:-1] else None


def _stage(at_work: _Work, stopped: StopFlag) -> int:
    """Run the stage's own command, on all nodes of the job."""
    return attended(
        srun_argv(at_work.job.request, at_work.job.command),
        _child_environment(at_work),
        cwd=at_work.root,
        asked=stopped,
        # srun takes SIGTERM as an order to kill the step at once; the two mean the same to a stage.
        ask=signal.SIGUSR1,
    )


def _commit(at_work: _Work, made_from: Mapping[str, str]) -> int:
    if not at_work.job.commits:
        # Whoever commits writes down the dependencies as they are then.
        require_same_inputs(at_work.job.stage, made_from, inputs_now(at_work.root, at_work.job.stage), since="it began")
        return at_work.end("done", 0, "nothing to commit here")
    crash_point("before-the-commit")
    commit(at_work.root, at_work.job.stage, made_from, runner=at_work.runner)
    crash_point("after-the-commit")
    return at_work.end("done", 0, "committed")


def _told_to_end(stopped: StopFlag) -> bool:
    """Whether this script itself was sent SIGTERM: Slurm ends the job, and whether it starts it again is settled."""
    return signal.SIGTERM.name in stopped.received


def _stalled(at_work: _Work) -> bool:
    """Whether the life before this one that ended in a requeue had saved nothing further."""
    for line in reversed(at_work.kept.attempts(at_work.job.name)):
        if line.get("next") == "requeue" and line.get("slurm_id") == at_work.life.slurm_id:
            return line["progressed"] is False
    return False


def _requeue(at_work: _Work, life: _Stopped, stopped: StopFlag, told_s: float, settle_s: float) -> int:
    """Ask for the next life, unless Slurm ends this job anyway. It is the last act: Slurm ends this process then."""
    limit = time.monotonic() + told_s
    while not _told_to_end(stopped) and time.monotonic() < limit:
        time.sleep(0.05)
    again = life.verdict.next == "requeue" and not _told_to_end(stopped)
    at_work.note(
        "ended",
        next="requeue" if again else "left to slurm",
        exit_code=life.exit_code,
        signals=sorted(stopped.received),
        progressed=life.progressed,
        detail=life.verdict.detail,
    )
    at_work.say(f"job       {at_work.label} {life.verdict.detail}: {'requeue' if again else 'left to Slurm'}")
    crash_point("before-the-requeue")
    if again:
        # SIGTERM is from now on the end in order, and nothing to take note of.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        try:
            SlurmClient(at_work.runner).requeue(at_work.life.slurm_id)
        except Exception as error:
            exit_code, said = _words(error)
            at_work.end("failed", exit_code, f"it stopped to be requeued, and was not: {said}")
            raise
        signal.sigtimedwait({signal.SIGTERM}, settle_s)
    return EXIT_STOPPED_EARLY


def _child_environment(at_work: _Work) -> dict[str, str]:
    """The stage finds the programs of this environment, its site, and whose job it is part of."""
    here = str(Path(sys.executable).parent)
    return {
        **at_work.environment,
        "PATH": f"{here}{os.pathsep}{at_work.environment.get('PATH', os.defpath)}",
        SITE_VARIABLE: at_work.kept.graph.site,
        JOB_VARIABLE: at_work.label,
    }
