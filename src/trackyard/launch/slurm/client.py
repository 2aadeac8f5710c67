"""Slurm as trackyard uses it: submit once, see, cancel, requeue; whatever is lost on the way is asked for again.

Source: pains 19, hpc spec section 4.
"""

from __future__ import annotations

import itertools
import os
import re
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from trackyard.errors import ConfigError, EnvironmentLacking, TrackyardError
from trackyard.launch.slurm.asking import Told, accounting, controller, ended_jobs
from trackyard.launch.slurm.commands import Answer, ask
from trackyard.launch.slurm.ids import ONE
from trackyard.launch.slurm.patience import waits
from trackyard.launch.slurm.script import name_of
from trackyard.launch.slurm.states import Seen
from trackyard.runner import Runner

TRIES = 9
"""Of one command: with the waits between them 4 minutes, longer than a controller takes to start again."""
_SUBMITTED = re.compile(r"(\d+)(?:;[\w.-]+)?")
"""What `sbatch --parsable` prints, with the cluster's name in a federation."""
_ENDED = re.compile(r"already completing or completed|Invalid job id specified")
_QUEUED = re.compile(r"Job is pending execution")


class SlurmClient:
    """environment: of the programs; sleep: how time passes between two tries."""

    def __init__(
        self,
        runner: Runner,
        *,
        sleep: Callable[[float], None] = time.sleep,
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        self._runner = runner
        self._sleep = sleep
        self._environment = environment

    def submit(self, script: Path) -> str:
        """Submit a script of `script.render`, and return the id of its job.

        Its job's name belongs to this one submission. It is looked up first and whenever an answer was lost, so that
        the same script is never submitted twice. ConfigError where Slurm refuses it; EnvironmentLacking where the
        cluster is not reached.
        """
        name = name_of(script.read_text(encoding="utf-8"))
        words, in_doubt, accepted = "", False, False
        for wait in self._tries():
            self._sleep(wait)
            silent, found = self._named(name)
            if found is not None:
                return found
            if silent is not None or in_doubt or accepted:
                # A busy controller may still come to what it was asked: absent once is not absent.
                words, in_doubt = silent or words, in_doubt and silent is not None
                continue
            answer = ask(self._runner, ["sbatch", "--parsable", str(script)], self._environment)
            submitted = _submitted_in(answer)
            if submitted is not None:
                return submitted
            if not answer.ok and not answer.lost:
                raise _refused(name, answer)
            words, in_doubt, accepted = answer.words, True, answer.ok
        raise EnvironmentLacking(
            what=f"nobody knows whether job {name} was submitted: {words}",
            why="submitting it again would run it twice if it was",
            fix="once `squeue --me` answers: trackyard retry   (it looks the job up by its name first)",
        )

    def named(self, name: str) -> str | None:
        """The id of our job of that name; None where there is none. EnvironmentLacking if not reached."""
        words: str | None = ""
        for wait in self._tries():
            self._sleep(wait)
            words, found = self._named(name)
            if words is None:
                return found
        raise EnvironmentLacking(
            what=f"Slurm was not reached to look for job {name}: {words}",
            why=f"it was tried {TRIES} times; whether the job was ever submitted is unknown",
            fix="once `squeue --me` answers, the same command again",
        )

    def seen(self, ids: Collection[str]) -> dict[str, Seen]:
        """What is known of each job, or task of an array (ID_INDEX). A cluster that does not answer is no error: what
        nobody knows is unknown, and the reason says what each source said.

        A job that the controller calls alive is alive: accounting may still tell how its last life ended. Of ended jobs
        accounting is heard first, then the controller, then its file of ended jobs.
        """
        for one in ids:
            _require_id(one)
        if not ids:
            return {}
        now = controller(self._runner, ids, self._environment)
        known = {one: now.jobs[one] for one in ids if one in now.jobs and now.jobs[one].is_alive}
        rest = set(ids) - set(known)
        if rest:
            past = accounting(self._runner, rest, self._environment)
            known |= {one: found for one in rest if (found := _settled(one, now, past)) is not None}
            rest -= set(known)
        if rest:
            file = ended_jobs(self._runner, rest, self._environment)
            known |= {one: file.jobs.get(one, _unknown(one, now, past, file)) for one in rest}
        return {one: known[one] for one in ids}

    def cancel(self, ids: Collection[str]) -> None:
        """End jobs that have not ended; those that have are left as they are. EnvironmentLacking if not reached."""
        for one in ids:
            _require_id(one)
        if ids:
            self._insist(["scancel", *sorted(ids)], _ENDED, what=f"cancel {', '.join(sorted(ids))}")

    def requeue(self, job: str) -> None:
        """Put a job back into the queue. Called by its own batch process this is the last act: Slurm ends it then."""
        _require_id(job)
        self._insist(["scontrol", "requeue", job], _QUEUED, what=f"requeue {job}")

    def _insist(self, argv: Sequence[str], already: re.Pattern[str], *, what: str) -> None:
        """Until the cluster answers; what was asked may be asked twice. already: says that it was so before."""
        words = ""
        for wait in self._tries():
            self._sleep(wait)
            answer = ask(self._runner, argv, self._environment)
            # Of several jobs one may have ended while nothing was heard of another.
            if answer.ok or (not answer.lost and already.search(answer.words)):
                return
            if not answer.lost:
                raise TrackyardError(
                    what=f"Slurm did not {what}: {answer.words}",
                    why="the jobs stand as they did",
                    fix=f"see what Slurm says of it: scontrol show job {argv[-1]}",
                )
            words = answer.words
        raise EnvironmentLacking(
            what=f"Slurm was not reached to {what}: {words}",
            why=f"it was tried {TRIES} times; whether Slurm heard one of them is unknown",
            fix="once `squeue --me` answers, the same command again",
        )

    def _tries(self) -> list[float]:
        """Seconds to wait before each try."""
        return [0.0, *itertools.islice(waits(), TRIES - 1)]

    def _named(self, name: str) -> tuple[str | None, str | None]:
        """(why nobody could say, the id of our job of that name): one of the two at most."""
        argv = ["squeue", "--noheader", "--me", "--states=all", f"--name={name}", "--format=%F"]
        answer = ask(self._runner, argv, self._environment)
        if not answer.ok:
            return answer.words or "squeue failed without a word", None
        found = _ids(answer.stdout)
        if not found:
            # Ended, and forgotten by the controller. Without accounting nobody knows of it, and its stage tells itself.
            past = ["sacct", "--noheader", "--parsable2", "--allocations", "--starttime=now-7days", f"--name={name}",
                    "--format=JobID"]  # fmt: skip
            accounted = ask(self._runner, past, self._environment)
            found = _ids(accounted.stdout) if accounted.ok else []
        return None, found[-1] if found else None


def _ids(text: str) -> list[str]:
    """Ids of whole jobs, the oldest first. Other lines are what a site prints there."""
    lines = (re.fullmatch(r"(\d+)(?:[_+.]\S*)?", line.strip()) for line in text.splitlines())
    return sorted({found[1] for found in lines if found}, key=int)


def _submitted_in(answer: Answer) -> str | None:
    """The id in what sbatch printed, between whatever else a site prints there; None if it is not the only one."""
    found = [match[1] for line in answer.stdout.splitlines() if (match := _SUBMITTED.fullmatch(line.strip()))]
    return found[0] if answer.ok and len(found) == 1 else None


def _settled(one: str, now: Told, past: Told) -> Seen | None:
    """What accounting or the controller says of a job that the controller does not call alive; None where they differ
    or say nothing."""
    accounted, controlled = past.jobs.get(one), now.jobs.get(one)
    if accounted is not None and _is_end(accounted, now):
        if controlled is None or controlled.state != accounted.state:
            return accounted
        # The reason that accounting keeps is why the job last waited.
        return replace(accounted, reason=controlled.reason, restarts=controlled.restarts)
    if controlled is not None and controlled.state != "unknown":
        return controlled
    # Accounting hears of an end last: what it calls alive is so only while the controller cannot contradict it.
    if accounted is not None and accounted.is_alive and now.silent is not None:
        return accounted
    return None


def _is_end(accounted: Seen, now: Told) -> bool:
    """Whether accounting tells the end of a job, and not only of one life, which Slurm itself may follow by another."""
    if accounted.is_alive or accounted.state == "unknown":
        return False
    return now.silent is None or accounted.state not in ("preempted", "node failed")


def _unknown(one: str, now: Told, past: Told, file: Told) -> Seen:
    said = []
    for name, told in (("controller", now), ("accounting", past), ("jobcomp", file)):
        heard = told.jobs.get(one)
        words = told.silent or (heard and (heard.reason if heard.state == "unknown" else heard.state)) or "no such job"
        said.append(f"{name}: {words}")
    return Seen(state="unknown", reason="; ".join(said))


def _refused(name: str, answer: Answer) -> ConfigError:
    return ConfigError(
        what=f"Slurm refuses job {name}: {answer.words}",
        why="nothing was submitted under this name",
        fix="compare the site file with `scontrol show partition` and `trackyard site check`, then submit again",
    )


def _require_id(text: str) -> None:
    if not ONE.fullmatch(text):
        raise ConfigError(
            what=f"{text!r} is no id of a job",
            why="a job is asked for as 12, a task of an array as 12_4",
            fix="see `squeue --me`",
        )
