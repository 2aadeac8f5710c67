"""Run a module as several ranks on this machine.

Our own processes rather than torchrun, under which a stage runs too: its agent gives ranks 30 seconds between SIGTERM
and SIGKILL, too few for the checkpoint of a large model, dies of SIGUSR1 while its ranks go on without it, turns the
exit code 75 into 1, and starts ranks in sessions of their own, where no signal to the job's process group reaches them.
"""

from __future__ import annotations

import errno
import os
import random
import socket
import sys
import threading
from collections.abc import Sequence

from trackyard.errors import EXIT_FAILED, EnvironmentLacking
from trackyard.launch.launched import Launched, alone
from trackyard.launch.watchdog import ASK
from trackyard.runner import Together, together

PORTS = (20_000, 32_768)
"""Where ranks may meet: from the first to before the second."""


def run_processes(module: str, arguments: Sequence[str], *, processes: int) -> Together:
    """Run `python -m module arguments` as `processes` ranks to the end, output and stop signals passed through.

    The module's main calls `end_with_parent` first. Ranks that wait for a failed one are asked for their stacks
    before they are killed.
    """
    argv = [sys.executable, "-m", module, *arguments]
    port, environment = free_port(), alone(os.environ)
    return together(
        [(argv, environment | rank_environment(rank, processes, port)) for rank in range(processes)], ask=ASK
    )


def rank_environment(rank: int, processes: int, port: int) -> dict[str, str]:
    """What torch.distributed reads, for ranks that are all on this machine."""
    return Launched(
        by="trackyard",
        rank=rank,
        world=processes,
        local_rank=rank,
        local_world=processes,
        host="127.0.0.1",
        port=port,
    ).variables()


def end_with_parent() -> None:
    """End this rank as soon as the process that started it is gone, even killed.

    A rank that went on alone would write into a run directory whose lock is free again.
    """

    def watch() -> None:
        os.read(sys.__stdin__.fileno() if sys.__stdin__ else 0, 1)
        os._exit(EXIT_FAILED)

    threading.Thread(target=watch, name="end-with-parent", daemon=True).start()


def free_port() -> int:
    """A port of the loopback interface that nothing listens on.

    Below those that systems give to outgoing connections: one of these could take the port before a rank listens on it.
    """
    for port in random.SystemRandom().sample(range(*PORTS), len(range(*PORTS))):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
                continue
        return port
    raise EnvironmentLacking(
        what=f"every port from {PORTS[0]} to {PORTS[1] - 1} is in use",
        why="the ranks of a run meet at a port of this machine",
        fix="end what holds them: `ss -ltnp` lists it",
    )
