"""How a stage ends that was asked to stop or whose ranks failed: in words, and in the exit code of the project.

Source: design section 6; reliability spec section 4.
"""

from __future__ import annotations

from trackyard.errors import StoppedEarly, TrackyardError
from trackyard.recipes.running.training import FINAL
from trackyard.record.rundir import Attempt, RunDirectory
from trackyard.record.spool import read_spool
from trackyard.runner import Together
from trackyard.train.checkpoint import complete_checkpoints

RANKS_STOPPED = "a signal to its ranks, or the end of their time"
"""Why ranks of our own say that they stopped, where this process was sent nothing itself."""


def nothing_done(again: str, reason: str) -> TrackyardError:
    """The end of a run that was asked to stop while it proved its data, before its directory was known."""
    return TrackyardError(
        what=f"stopped by {reason} before the run was opened",
        why="nothing was trained in this attempt; what earlier ones saved is untouched",
        fix=again,
    )


def stopped(directory: RunDirectory, again: str, reason: str) -> TrackyardError:
    """The end of a run that was asked to stop: exit code 75 only where the next attempt has something to go on."""
    if (directory.path / FINAL).exists() or complete_checkpoints(directory.checkpoints):
        return StoppedEarly(
            what=f"stopped by {reason}",
            why=f"a complete checkpoint is in {directory.checkpoints}, and the next attempt continues from there",
            fix=again,
        )
    return TrackyardError(
        what=f"stopped by {reason} before the first checkpoint",
        why="there is nothing to continue from yet",
        fix=f"{again}   (it starts at the first step)",
    )


def without_final(directory: RunDirectory, again: str, attempt: Attempt, ended: Together) -> TrackyardError:
    """What became of ranks that left no final weights."""
    spool = directory.spool / f"attempt-{attempt.number:04d}.jsonl"
    events = [event for _, event in read_spool(spool).events] if spool.exists() else []
    states = [event["state"] for event in events if event["event"] == "status"]
    if states and states[-1] == "stopped":
        return stopped(directory, again, RANKS_STOPPED)
    files = sorted((directory.path / "stacks").glob(f"attempt-{attempt.number:04d}-*"))
    stacks = [path.name for path in files if path.stat().st_size]  # a killed rank leaves none
    return TrackyardError(
        what=f"the processes of attempt {attempt.number} ended with {', '.join(map(str, ended.codes))} "
        "and without final weights",
        why="a rank failed or stood still; its error is above"
        + (f", where each rank was in {directory.path / 'stacks'}: {', '.join(stacks)}" if stacks else ""),
        fix="mend what it names and run the same command again: it continues from the last checkpoint",
    )
