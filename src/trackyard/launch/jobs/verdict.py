"""What becomes of a job when a life of it has ended: done, once more, or over. Source: hpc spec sections 3 and 4.2.

Measured with Slurm 22.05: a preempted job hears SIGTERM in its steps alone, and if its script ends within the grace,
with 75, it is FAILED and not requeued. So a job that has saved requeues itself, whoever asked its stage to save.
SIGTERM to the script itself comes when Slurm ends the job: it was cancelled, its time or its grace is over, or it was
requeued. To requeue it then would revive what somebody has cancelled.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from trackyard.errors import EXIT_DONE, EXIT_FAILED, EXIT_STOPPED_EARLY
from trackyard.launch.signals import STOP_SIGNALS

Next = Literal["commit", "requeue", "left to slurm", "failed", "given up"]

_CUT = {code for number in STOP_SIGNALS for code in (-number, 128 + number)}
"""Exit codes of a program that died of a stop signal, because it was still starting or is none that can save, and of a
stage that heard one before it had anything to save (errors.CutOff)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """next: what is done; exit_code: of the batch process; detail: why, for `trackyard status`."""

    next: Next
    exit_code: int
    detail: str


def verdict(
    *, exit_code: int, told_to_end: bool, progressed: bool, stalled_before: bool, life: int, lives: int
) -> Verdict:
    """Judge a life. exit_code: of the stage's program, negative for a signal.

    told_to_end: SIGTERM came to the batch script. progressed: more is saved than when it began. stalled_before: the
    life that was requeued last had saved nothing. life, lives: which one it was, of how many at most.
    """
    if exit_code == EXIT_DONE:
        return Verdict(next="commit", exit_code=EXIT_DONE, detail="")
    if told_to_end:
        return Verdict(
            next="left to slurm",
            exit_code=EXIT_STOPPED_EARLY,
            detail=f"ended with {_words(exit_code)} after Slurm ended it (SIGTERM)",
        )
    if exit_code != EXIT_STOPPED_EARLY and exit_code not in _CUT:
        passed = exit_code if exit_code > 0 else 128 - exit_code
        return Verdict(next="failed", exit_code=passed, detail=f"ended with {_words(exit_code)}")
    how = "stopped early" if exit_code == EXIT_STOPPED_EARLY else f"ended with {_words(exit_code)} before it could save"
    if not progressed and stalled_before:
        return Verdict(
            next="given up", exit_code=EXIT_FAILED, detail=f"{how}; two lives in a row saved nothing further"
        )
    if life >= lives:
        return Verdict(next="given up", exit_code=EXIT_FAILED, detail=f"{how}; that was life {life} of {lives}")
    return Verdict(
        next="requeue",
        exit_code=EXIT_STOPPED_EARLY,
        detail=f"{how}, {'further than it began' if progressed else 'with nothing further saved'}",
    )


def _words(exit_code: int) -> str:
    return f"exit code {exit_code}" if exit_code >= 0 else f"signal {-exit_code}"
