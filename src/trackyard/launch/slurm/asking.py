"""What accounting, the controller and its file of ended jobs say of jobs. None of them always knows.

Accounting lags by seconds and may be off; the controller forgets a job some minutes after its end (MinJobAge); the file
is there only where a site keeps it and lets users read it. Source: hpc spec section 4.3.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from trackyard.launch.slurm.commands import ask
from trackyard.launch.slurm.ids import ONE, tasks_of
from trackyard.launch.slurm.states import Seen, seen
from trackyard.runner import Runner

_NONE_KNOWN = "Invalid job id specified"
_COLUMNS = "JobArrayID:64|,State:32|,exit_code:16|,RestartCnt:16|,Reason:200"


@dataclass(frozen=True, kw_only=True, slots=True)
class Told:
    """jobs: what was said, by id of a job or task. silent: why nothing was said; None where there was an answer."""

    jobs: Mapping[str, Seen] = field(default_factory=dict)
    silent: str | None = None


def controller(runner: Runner, ids: Collection[str], environment: Mapping[str, str]) -> Told:
    """By squeue, which tells jobs that have ended as long as the controller remembers them."""
    argv = ["squeue", "--noheader", "--array", "--states=all", f"--jobs={_listed(ids)}", f"--Format={_COLUMNS}"]
    answer = ask(runner, argv, environment)
    if not answer.ok and _NONE_KNOWN not in answer.words:
        return Told(silent=answer.words or "squeue failed without a word")
    jobs = {}
    for line in answer.stdout.splitlines():
        cells = [cell.strip() for cell in line.split("|", 4)]
        if len(cells) != 5:
            continue
        found = seen(
            cells[1],
            _decoded(cells[2]),
            cells[4],
            "controller",
            restarts=int(cells[3]) if cells[3].isdecimal() else None,
        )
        jobs.update(dict.fromkeys(tasks_of(cells[0]), found))
    return Told(jobs=jobs)


def accounting(runner: Runner, ids: Collection[str], environment: Mapping[str, str]) -> Told:
    """By sacct. Of a job that was requeued it has a row for each life: the newest counts."""
    argv = ["sacct", "--noheader", "--parsable2", "--allocations", "--duplicates", f"--jobs={_listed(ids)}",
            "--format=JobID,State,ExitCode,Submit,Reason"]  # fmt: skip
    answer = ask(runner, argv, environment)
    if not answer.ok:
        return Told(silent=answer.words or "sacct failed without a word")
    lives: dict[str, list[tuple[str, str, str, str]]] = {}
    for line in answer.stdout.splitlines():
        cells = line.split("|", 4)
        if len(cells) != 5:
            continue
        for one in tasks_of(cells[0]):
            # A life that is requeued is submitted again at that moment.
            lives.setdefault(one, []).append((cells[3], cells[1], cells[2], cells[4]))
    jobs = {}
    for one, rows in lives.items():
        # The later row counts where two were submitted in the same second.
        _, (_, word, status, reason) = max(enumerate(rows), key=lambda row: (row[1][0], row[0]))
        jobs[one] = seen(word, status, reason, "accounting", restarts=len(rows) - 1)
    return Told(jobs=jobs)


def ended_jobs(runner: Runner, ids: Collection[str], environment: Mapping[str, str]) -> Told:
    """By the file of jobcomp/filetxt, where there is one that we may read: a line for each end, the last counts."""
    answer = ask(runner, ["scontrol", "show", "config"], environment)
    if not answer.ok:
        return Told(silent=answer.words or "scontrol failed without a word")
    settings = dict(re.findall(r"^(JobComp\w+)\s*=\s*(\S+)", answer.stdout, re.MULTILINE))
    path = Path(settings.get("JobCompLoc", ""))
    if settings.get("JobCompType") != "jobcomp/filetxt" or not path.is_file():
        return Told(silent="there is no file of ended jobs here")
    jobs: dict[str, Seen] = {}
    try:
        with open(path, encoding="utf-8", errors="replace") as handle:
            for line in handle:
                cells = dict(re.findall(r"\b(JobId|JobState|ArrayJobId|ArrayTaskId|ExitCode)=(\S+)", line))
                task = f"{cells.get('ArrayJobId')}_{cells.get('ArrayTaskId')}"
                one = task if ONE.fullmatch(task) else cells.get("JobId", "")
                if one in ids and "JobState" in cells:
                    found = seen(cells["JobState"], cells.get("ExitCode", ""), "", "jobcomp")
                    if found.is_alive:
                        # Written when a job is requeued: how that life went on is not known here.
                        jobs.pop(one, None)
                    else:
                        jobs[one] = found
    except PermissionError as error:
        return Told(silent=str(error))
    return Told(jobs=jobs)


def _listed(ids: Collection[str]) -> str:
    """Whole jobs: Slurm refuses a list for one task that it has forgotten, and the list of an array is short so."""
    return ",".join(sorted({one.partition("_")[0] for one in ids}, key=int))


def _decoded(status: str) -> str:
    """squeue prints what `wait` gives: the exit code above, the signal in the lowest bits."""
    if not status.isdecimal():
        return status
    return f"{int(status) >> 8 & 0xFF}:{int(status) & 0x7F}"
