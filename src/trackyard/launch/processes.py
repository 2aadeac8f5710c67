"""Run a module as several data-parallel processes on this machine, under torchrun."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from trackyard.runner import attached


def torchrun_argv(module: str, arguments: Sequence[str], *, processes: int) -> list[str]:
    """Command line that runs `python -m module arguments` as `processes` ranks, all of whose sockets are local."""
    return [
        sys.executable,
        "-m",
        "torch.distributed.run",
        f"--nproc-per-node={processes}",
        "--rdzv-backend=c10d",
        "--rdzv-endpoint=127.0.0.1:0",
        "--local-addr=127.0.0.1",
        "--max-restarts=0",
        "-m",
        module,
        *arguments,
    ]


def run_processes(module: str, arguments: Sequence[str], *, processes: int) -> int:
    """Run to the end, output and stop signals passed through; returns the exit code of torchrun.

    torchrun reports any stop of a rank as 1: what happened is read from what the ranks wrote, not from this number.
    """
    return attached(torchrun_argv(module, arguments, processes=processes))
