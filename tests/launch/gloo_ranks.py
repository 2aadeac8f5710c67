"""One rank of a few all-reduces over gloo, watched or not: `python -m tests.launch.gloo_ranks CASE FOLDER WATCHED`.

CASE: what rank 1 does in its fourth step. Results and stacks go to FOLDER.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist

from trackyard.errors import TrackyardError
from trackyard.launch.failures import named_failures
from trackyard.launch.processes import end_with_parent
from trackyard.launch.signals import stop_flag
from trackyard.launch.watchdog import Watchdog, WatchdogParameters, stacks_file

STEPS = 6
LIMITS = WatchdogParameters(first_s=60.0, at_least_s=5.0, factor=10.0)
LAG_S = 0.5
"""A lag that the limits allow; the ordinary step takes a millisecond."""


def main(case: str, folder: Path, watched: bool) -> int:
    end_with_parent()
    torch.set_num_threads(1)
    rank = int(os.environ["RANK"])
    try:
        with stop_flag() as stopped, contextlib.ExitStack() as stack:
            watchdog = Watchdog(stacks_file(folder, 1, rank), rank=rank, limits=LIMITS)
            if watched:
                stack.enter_context(watchdog)
            stack.enter_context(named_failures())
            dist.init_process_group("gloo", timeout=timedelta(seconds=120))
            for step in range(1, STEPS + 1):
                if not (rank == 1 and step == 4 and at_step_4(case, folder)):
                    dist.all_reduce(torch.ones(4) * (rank + 1))
                if watched:
                    watchdog.beat(last=step == STEPS)
                if stopped():
                    break
            dist.barrier()
    except TrackyardError as error:
        sys.stderr.write(f"rank {rank}: {error}\n")
        return error.exit_code
    (folder / f"done-{rank}").touch()
    return 0


def at_step_4(case: str, folder: Path) -> bool:
    """True where the collective of this step is left out."""
    (folder / "step-4").touch()
    if case == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    elif case == "aborts":
        os.abort()
    elif case == "sleeps":
        time.sleep(3600)
    elif case == "lags":
        time.sleep(LAG_S)
    elif case == "raises":
        raise TrackyardError(what="no feed worker has decoded", why="a test", fix="none")
    return case == "skips"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2]), sys.argv[3] == "watched"))
