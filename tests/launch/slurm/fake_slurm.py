"""A scheduler for tests, behind the Runner that trackyard takes: it answers as Slurm 22.05 does, and runs nothing.

    slurm = FakeSlurm()                     # other programs (dvc, git) go to the runner `other`
    client = SlurmClient(slurm, sleep=slurm.sleep)
    job = client.submit(script)             # "1", "2", …; tasks of an array are "1_0", "1_1", …
    slurm.schedule()                        # starts all that waits for nothing; cancels what waits in vain
    slurm.end(job, exit_code=3)             # or state="TIMEOUT", "OUT_OF_MEMORY", "CANCELLED by 0", …
    slurm.requeue(job)                      # as scontrol requeue and preemption do: pending, one restart more
    slurm.environment(job)                  # what the batch process of a started job finds
    slurm.jobs[job].state, .options, .text  # and what was asked for; slurm.submitted: ids of sbatch, in order

What goes wrong: `controller = False` (not reached), `accounting = False` (none), `lagging` (ids that sacct shows as
they were first), `unlisted` (ids that sacct does not show), `forget(job)` (MinJobAge is over), `lose = n` (n
submissions whose answer is lost on the way back), `drop = n` (n that never arrive), `refusal` (Slurm's words), `banner`
(what a site prints before and after), `completions` (the file of jobcomp/filetxt). `hides_names`: no job is
found by its name. `calls`: every command line; `slept`: every wait.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from trackyard.errors import TrackyardError
from trackyard.runner import Finished, Runner

UNREACHED = "Unable to contact slurm controller (connect failure)"
ALIVE = ("PENDING", "RUNNING", "COMPLETING")


@dataclass(frozen=True, kw_only=True)
class Life:
    """A row of accounting. at: when it was submitted."""

    state: str
    status: str
    reason: str
    at: int


@dataclass(kw_only=True)
class FakeJob:
    """options: of the script, by name without dashes. status: CODE:SIGNAL. lives: those before this one."""

    id: str
    text: str
    options: dict[str, str]
    state: str = "PENDING"
    status: str = "0:0"
    reason: str = "None"
    restarts: int = 0
    at: int = 0
    lives: list[Life] = field(default_factory=list)
    forgotten: bool = False

    @property
    def name(self) -> str:
        return self.options["job-name"]

    @property
    def alive(self) -> bool:
        return self.state in ALIVE


class FakeSlurm:
    """See the module."""

    def __init__(self, other: Runner | None = None) -> None:
        self.other = other
        self.jobs: dict[str, FakeJob] = {}
        self.submitted: list[str] = []
        self.calls: list[tuple[str, ...]] = []
        self.slept: list[float] = []
        self.controller = self.accounting = True
        self.lagging: set[str] = set()
        self.unlisted: set[str] = set()
        self.lose = self.drop = 0
        self.refusal = ""
        self.hides_names = False
        self.banner = ("", "")
        self.completions: Path | None = None
        self._clock = 0

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    def run(
        self,
        argv: Sequence[str],
        *,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        timeout_s: float = 60.0,
    ) -> Finished:
        self.calls.append(tuple(argv))
        programs = {"sbatch": self._sbatch, "squeue": self._squeue, "sacct": self._sacct, "scancel": self._scancel,
                    "scontrol": self._scontrol}  # fmt: skip
        if argv[0] not in programs:
            assert self.other is not None, f"{argv} is none of Slurm's programs"
            return self.other.run(argv, cwd=cwd, env=env, timeout_s=timeout_s)
        code, out, err = programs[argv[0]](list(argv[1:]))
        return Finished(argv=tuple(argv), exit_code=code, stdout=out, stderr=err, seconds=0.0)

    def count(self, program: str) -> int:
        """How often it was run."""
        return sum(argv[0] == program for argv in self.calls)

    def schedule(self) -> list[str]:
        """Start every job that waits for nothing; cancel those that wait in vain. Returns the ids that started."""
        started = []
        for job in self.jobs.values():
            if job.state != "PENDING":
                continue
            before = list(self._before(job))
            if any(not one.alive and one.state != "COMPLETED" for one in before):
                job.state, job.reason = "CANCELLED", "DependencyNeverSatisfied"
            elif all(one.state == "COMPLETED" for one in before):
                job.state, job.reason = "RUNNING", "None"
                started.append(job.id)
            else:
                job.reason = "Dependency"
        return started

    def end(self, job: str, *, exit_code: int = 0, state: str | None = None) -> None:
        """End a job; state: Slurm's word, by default COMPLETED or FAILED."""
        ended = self.jobs[job]
        ended.state = state or ("FAILED" if exit_code else "COMPLETED")
        ended.status = f"{exit_code}:0"
        ended.reason = "NonZeroExitCode" if exit_code and state is None else "None"
        if self.completions is not None:
            self._complete(ended)

    def requeue(self, job: str, *, word: str = "REQUEUED") -> None:
        """Back into the queue. word: how accounting calls the life that ended (PREEMPTED, NODE_FAIL)."""
        again = self.jobs[job]
        again.lives.append(Life(state=word, status=again.status, reason=again.reason, at=again.at))
        again.state, again.status, again.reason = "PENDING", "0:0", "BeginTime"
        again.restarts += 1
        again.at = self._tick()
        if self.completions is not None:
            self._complete(again)

    def forget(self, job: str) -> None:
        """The controller knows it no more."""
        self.jobs[job].forgotten = True

    def environment(self, job: str) -> dict[str, str]:
        """Variables of the batch process."""
        running = self.jobs[job]
        base, _, index = job.partition("_")
        found = {"SLURM_JOB_ID": base, "SLURM_JOB_NAME": running.name, "SLURM_JOB_NODELIST": "node[1-2]"}
        if index:
            # The tasks of an array have numbers of their own.
            own = int(base) * 1000 + int(index)
            found |= {"SLURM_JOB_ID": str(own), "SLURM_ARRAY_JOB_ID": base, "SLURM_ARRAY_TASK_ID": index}
        if running.restarts:
            found["SLURM_RESTART_COUNT"] = str(running.restarts)
        return found

    def _tick(self) -> int:
        self._clock += 1
        return self._clock

    def _before(self, job: FakeJob) -> Iterator[FakeJob]:
        _, _, ids = job.options.get("dependency", "").partition(":")
        for one in filter(None, ids.split(":")):
            if one in self.jobs:
                yield self.jobs[one]
            else:
                yield from (task for task in self.jobs.values() if task.id.startswith(f"{one}_"))

    def _sbatch(self, arguments: list[str]) -> tuple[int, str, str]:
        if not self.controller:
            return 1, "", f"sbatch: error: Batch job submission failed: {UNREACHED}\n"
        if self.drop:
            self.drop -= 1
            return 1, "", "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation\n"
        if self.refusal:
            return 1, "", f"sbatch: error: Batch job submission failed: {self.refusal}\n"
        assert arguments[0] == "--parsable", arguments
        text = Path(arguments[1]).read_text()
        words = [shlex.split(line.removeprefix("#SBATCH "))[0] for line in text.splitlines() if line.startswith("#SB")]
        options = {name.removeprefix("--"): value for name, _, value in (word.partition("=") for word in words)}
        number = str(len(self.submitted) + 1)
        self.submitted.append(number)
        for one in _tasks(number, options.get("array")):
            self.jobs[one] = FakeJob(id=one, text=text, options=options, reason="Priority", at=self._tick())
        if self.lose:
            self.lose -= 1
            raise TrackyardError(what="`sbatch` did not end within 180 s", why="", fix="")
        return 0, f"{self.banner[0]}{number}\n{self.banner[1]}", ""

    def _squeue(self, arguments: list[str]) -> tuple[int, str, str]:
        if not self.controller:
            return 1, "", f"slurm_load_jobs error: {UNREACHED}\n"
        given = _options(arguments)
        listed = [job for job in self._asked(given) if not job.forgotten]
        if "jobs" in given and not listed and "," not in given["jobs"]:
            return 1, "", "slurm_load_jobs error: Invalid job id specified\n"
        if "name" in given:
            return 0, "".join(f"{job.id.partition('_')[0]}\n" for job in listed), ""
        rows = ""
        for job in listed:
            code, _, number = job.status.partition(":")
            wait = int(code) << 8 | int(number)
            rows += f"{job.id:64}|{job.state.partition(' ')[0]:32}|{wait:<16}|{job.restarts:<16}|{job.reason:200}\n"
        return 0, rows, ""

    def _sacct(self, arguments: list[str]) -> tuple[int, str, str]:
        if not self.accounting:
            return 1, "", "Slurm accounting storage is disabled\n"
        given = _options(arguments)
        asked = [job for job in self._asked(given) if job.id not in self.unlisted]
        if "name" in given:
            return 0, "".join(f"{job.id}\n" for job in asked), ""
        rows = ""
        for job in asked:
            # Accounting keeps why a job last waited.
            reason = "Dependency" if job.reason == "DependencyNeverSatisfied" else job.reason
            now = Life(state=job.state, status=job.status, reason=reason, at=job.at)
            lives = [*job.lives, now]
            if job.id in self.lagging:
                # What it heard first: a life that had just begun.
                lives = [replace(lives[0], state="RUNNING", status="0:0")]
            for life in lives:
                rows += f"{job.id}|{life.state}|{life.status}|2026-01-01T00:00:{life.at:02d}|{life.reason}\n"
        return 0, rows, ""

    def _scancel(self, arguments: list[str]) -> tuple[int, str, str]:
        if not self.controller:
            return 8, "", f"scancel: error: Kill job error on job id {arguments[0]}: {UNREACHED}\n"
        for one in arguments:
            for job in self.jobs.values():
                if job.alive and one in (job.id, job.id.partition("_")[0]):
                    job.state, job.reason = "CANCELLED by 0", "None"
        return 0, "", ""

    def _scontrol(self, arguments: list[str]) -> tuple[int, str, str]:
        if not self.controller:
            return 1, "", "Unexpected message received for job\n"
        if arguments[0] == "requeue":
            job = self.jobs.get(arguments[1])
            if job is None or job.forgotten:
                return 1, "", f"Invalid job id specified for job {arguments[1]}\n"
            if job.state == "PENDING":
                return 1, "", f"Job is pending execution for job {arguments[1]}\n"
            self.requeue(job.id)
            return 0, "", ""
        assert arguments == ["show", "config"], arguments
        kind = "jobcomp/none" if self.completions is None else "jobcomp/filetxt"
        return 0, f"JobCompHost = localhost\nJobCompLoc  = {self.completions}\nJobCompType = {kind}\n", ""

    def _asked(self, given: Mapping[str, str]) -> list[FakeJob]:
        if "name" in given:
            return [job for job in self.jobs.values() if job.name == given["name"] and not self.hides_names]
        bases = given["jobs"].split(",")
        return [job for job in self.jobs.values() if job.id.partition("_")[0] in bases]

    def _complete(self, job: FakeJob) -> None:
        assert self.completions is not None
        base, _, index = job.id.partition("_")
        own = int(base) * 1000 + int(index) if index else int(base)
        array = f"ArrayJobId={base} ArrayTaskId={index} " if index else ""
        line = (
            f"JobId={own} UserId=someone(1000) GroupId=someone(1000) Name={job.name} "
            f"JobState={job.state.partition(' ')[0]} Partition=gpu {array}DerivedExitCode=0:0 ExitCode={job.status} \n"
        )
        with open(self.completions, "a") as handle:
            handle.write(line)


def _tasks(number: str, array: str | None) -> list[str]:
    if array is None:
        return [number]
    found = []
    for part in array.partition("%")[0].split(","):
        first, _, last = part.partition("-")
        found += [f"{number}_{index}" for index in range(int(first), int(last or first) + 1)]
    return found


def _options(arguments: Sequence[str]) -> dict[str, str]:
    matches = (re.fullmatch(r"--([a-z0-9-]+|Format)(?:=(.*))?", one) for one in arguments)
    return {match[1]: match[2] or "" for match in matches if match is not None}
