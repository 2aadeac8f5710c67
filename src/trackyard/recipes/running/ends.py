"""How a stage ends that was asked to stop or that failed: in words, in the exit code of the project, in its record.

Source: design section 6; reliability spec section 4.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from trackyard.errors import CutOff, StoppedEarly, TrackyardError
from trackyard.launch.signals import TIME_IS_UP, number_of
from trackyard.recipes.running.training import FINAL
from trackyard.record.rundir import Attempt, RunDirectory, spooled_attempt
from trackyard.record.spool import Spool, Status, read_spool
from trackyard.runner import Together
from trackyard.train.checkpoint import complete_checkpoints

log = logging.getLogger(__name__)

RANKS_STOPPED = "a signal to its ranks, or the end of their time"
"""Why ranks of our own say that they stopped, where this process was sent nothing itself."""


def nothing_done(again: str, reason: str) -> TrackyardError:
    """The end of a run that was asked to stop while it proved its data, before its directory was known."""
    return CutOff(
        what=f"stopped by {reason} before the run was opened",
        why="nothing was trained in this attempt; what earlier ones saved is untouched",
        fix=again,
        number=number_of(reason),
    )


def stopped(directory: RunDirectory, again: str, reason: str) -> TrackyardError:
    """The end of a run that was asked to stop: exit code 75 only where the next attempt has something to go on."""
    if (directory.path / FINAL).exists() or complete_checkpoints(directory.checkpoints):
        return StoppedEarly(
            what=f"stopped by {reason}",
            why=f"a complete checkpoint is in {directory.checkpoints}, and the next attempt continues from there",
            fix=again,
        )
    return CutOff(
        what=f"stopped by {reason} before the first checkpoint",
        why="there is nothing to continue from yet",
        fix=f"{again}   (it starts at the first step)",
        # What ranks of our own were sent is not known here; a time that is over comes as SIGUSR1.
        number=number_of(TIME_IS_UP if reason == RANKS_STOPPED else reason),
    )


def without_final(directory: RunDirectory, again: str, attempt: Attempt, ended: Together) -> TrackyardError:
    """What became of ranks that left no final weights."""
    if _told(directory, attempt.number) == "stopped":
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


@contextmanager
def end_told(directory: RunDirectory) -> Iterator[None]:
    """Tell the record how the block ends, where it does not come to a result: else the run would run for ever there.

    What training told of its own end stands. The caller holds the run lock.
    """
    before = _newest(directory)
    try:
        yield
    except Exception as error:
        if not directory.result.exists() and not _told_since(directory, before):
            _tell(directory, "stopped" if isinstance(error, StoppedEarly) else "failed")
        raise


def _tell(directory: RunDirectory, state: Status) -> None:
    try:
        with Spool(directory.spool, directory.new_attempt()) as spool:
            spool.status(state)
    except TrackyardError as error:
        # What ended the stage is told in any case; a disk that is full may have been the cause of both.
        log.warning("the record does not say that the run has %s: %s", state, error.what)


def _told_since(directory: RunDirectory, before: int) -> bool:
    newest = _newest(directory)
    return newest > before and _told(directory, newest) in ("failed", "stopped")


def _newest(directory: RunDirectory) -> int:
    """The last attempt that has a spool; 0 for none."""
    return max(map(spooled_attempt, directory.spool.glob("attempt-*.jsonl")), default=0)


def _told(directory: RunDirectory, attempt: int) -> str | None:
    """How an attempt says that it stands; None where it was killed before it said anything."""
    path = directory.spool / f"attempt-{attempt:04d}.jsonl"
    events = [event for _, event in read_spool(path).events] if path.exists() else []
    states = [str(event["state"]) for event in events if event["event"] == "status"]
    return states[-1] if states else None
