"""What Slurm says of a job, in its own words and in ours. Source: pains 19, hpc spec section 4.3."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

State = Literal[
    "pending",
    "running",
    "requeued",
    "done",
    "failed",
    "cancelled",
    "timeout",
    "preempted",
    "out of memory",
    "node failed",
    "unknown",
]
Source = Literal["accounting", "controller", "jobcomp", "nobody"]

ALIVE: frozenset[State] = frozenset({"pending", "running", "requeued"})

_STATES: dict[str, State] = {
    "PENDING": "pending",
    "CONFIGURING": "pending",
    "REQUEUED": "requeued",
    "REQUEUE_FED": "requeued",
    "REQUEUE_HOLD": "requeued",
    "SPECIAL_EXIT": "requeued",
    "RUNNING": "running",
    # Its script has ended, or is being ended; how is not settled before its last process is gone.
    "COMPLETING": "running",
    "RESIZING": "running",
    "SIGNALING": "running",
    "STAGE_OUT": "running",
    "STOPPED": "running",
    "SUSPENDED": "running",
    "COMPLETED": "done",
    "FAILED": "failed",
    "CANCELLED": "cancelled",
    "DEADLINE": "timeout",
    "TIMEOUT": "timeout",
    "PREEMPTED": "preempted",
    "OUT_OF_MEMORY": "out of memory",
    "BOOT_FAIL": "node failed",
    "NODE_FAIL": "node failed",
    # Another cluster of the federation has the job: this one knows nothing further.
    "REVOKED": "unknown",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """What is known of one job. exit_code: as a shell gives it (128 + the signal); None until it has ended.

    reason: Slurm's, or why the state is unknown; empty for none. source: who said so. restarts: None where that source
    does not count them.
    """

    state: State
    exit_code: int | None = None
    reason: str = ""
    source: Source = "nobody"
    restarts: int | None = None

    @property
    def is_alive(self) -> bool:
        return self.state in ALIVE


def seen(word: str, status: str, reason: str, source: Source, *, restarts: int | None = None) -> Seen:
    """word: Slurm's state ("CANCELLED by 0", "TIMEOUT"). status: its exit code as CODE:SIGNAL."""
    state = state_of(word)
    if state == "unknown":
        return Seen(state=state, reason=f"{source} says {word!r}", source="nobody")
    return Seen(
        state=state,
        exit_code=None if state in ALIVE else _exit_code(status),
        reason="" if reason in ("None", "(null)", "N/A") else reason,
        source=source,
        restarts=restarts,
    )


def state_of(word: str) -> State:
    """A word that we do not know is unknown, and never a failure."""
    head = re.match(r"[A-Z_]+", word)
    return _STATES.get(head[0], "unknown") if head else "unknown"


def _exit_code(status: str) -> int | None:
    found = re.fullmatch(r"(\d+):(\d+)", status)
    if found is None:
        return None
    code, number = int(found[1]), int(found[2])
    return 128 + number if number else code
