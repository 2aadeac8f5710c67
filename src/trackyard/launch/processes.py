"""Run a module as several data-parallel processes on this machine.

Not under torchrun: its agent gives ranks 30 seconds between SIGTERM and SIGKILL, too few for the checkpoint of a large
model, dies of SIGUSR1 while its ranks go on without it, and starts them in sessions of their own, where no signal to
the job's process group reaches them.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections.abc import Sequence

from trackyard.errors import EXIT_FAILED
from trackyard.runner import Together, together


def run_processes(module: str, arguments: Sequence[str], *, processes: int) -> Together:
    """Run `python -m module arguments` as `processes` ranks to the end, output and stop signals passed through.

    The module's main calls `end_with_parent` first.
    """
    argv = [sys.executable, "-m", module, *arguments]
    port = _free_port()
    return together([(argv, os.environ | rank_environment(rank, processes, port)) for rank in range(processes)])


def rank_environment(rank: int, processes: int, port: int) -> dict[str, str]:
    """What torch.distributed reads, for ranks that are all on this machine."""
    return {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(processes),
        "LOCAL_WORLD_SIZE": str(processes),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }


def end_with_parent() -> None:
    """End this rank as soon as the process that started it is gone, even killed.

    A rank that went on alone would write into a run directory whose lock is free again.
    """

    def watch() -> None:
        os.read(sys.__stdin__.fileno() if sys.__stdin__ else 0, 1)
        os._exit(EXIT_FAILED)

    threading.Thread(target=watch, name="end-with-parent", daemon=True).start()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
