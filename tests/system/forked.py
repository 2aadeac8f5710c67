"""Commands of trackyard in forks of one process that has everything imported, with a fault in them where wanted.

A stage of the small repository computes for five seconds and imports for seven; several ranks import as often. A fork
runs the same `main` on the same files. `python -m tests.system.forked` is that process: it reads orders, one a line.
"""

from __future__ import annotations

import importlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tests.system.repository import SOURCE, Ended, Repository, Running

STAGE = ("run", "molmo2", "stage2")
IMPORTED = ("tests.system.faults", "trackyard.cli.main", "trackyard.cli.record", "trackyard.models.molmo2")
Fault = tuple[str, dict[str, Any]]
"""The name of a function of tests.system.faults, and its arguments."""


class Fork:
    """A child of the parent process of all forks; what Popen is for a child of this one."""

    returncode: int | None = None

    def __init__(self, forks: Forks, pid: int) -> None:
        self._forks, self.pid = forks, pid
        self._handle = os.pidfd_open(pid)

    def poll(self) -> int | None:
        return self._reaped(0.0)

    def wait(self, timeout: float | None = None) -> int:
        code = self._reaped(timeout)
        if code is None:
            raise TimeoutError(f"process {self.pid} has not ended after {timeout} s")
        return code

    def send_signal(self, sig: int) -> None:
        if self.poll() is None:
            signal.pidfd_send_signal(self._handle, signal.Signals(sig))

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _reaped(self, timeout: float | None) -> int | None:
        if self.returncode is None and select.select([self._handle], [], [], timeout)[0]:
            self.returncode = self._forks.ask({"reap": self.pid})
            os.close(self._handle)
        return self.returncode


class Forks:
    """The parent process of all forks, as its user sees it."""

    def __init__(self) -> None:
        self._parent = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "tests.system.forked"],
            cwd=SOURCE, env=os.environ | {"OMP_NUM_THREADS": "1"}, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True,
        )  # fmt: skip

    def ask(self, order: Mapping[str, Any]) -> int:
        """Give an order; the answer is a number."""
        assert self._parent.stdin is not None
        assert self._parent.stdout is not None
        print(json.dumps(order), file=self._parent.stdin, flush=True)
        return int(self._parent.stdout.readline())

    def close(self) -> None:
        """End it; forks that are left end with the tests that started them."""
        assert self._parent.stdin is not None
        self._parent.stdin.close()
        self._parent.wait()

    @contextmanager
    def started(self, repository: Repository, *faults: Fault, ranks: int = 1) -> Iterator[list[Running]]:
        """Stage 2 as one process, or as the ranks of a launcher; every fault is in each of them."""

        def fork(argv: Sequence[str], folder: Path, environment: Mapping[str, str], out: Path, err: Path) -> Fork:
            files = {"folder": str(folder), "out": str(out), "err": str(err)}
            order = {"argv": list(argv), "environment": dict(environment), "faults": faults}
            return Fork(self, self.ask(files | order))

        from trackyard.launch.processes import free_port, rank_environment

        with ExitStack() as ends:
            running = []
            port = str(free_port())
            for rank in range(ranks):
                own = rank_environment(rank, ranks, int(port)) if ranks > 1 else {}
                running.append(Running(repository.within(**own), STAGE, fork))
                ends.callback(running[-1].kill)
            yield running

    def run(self, repository: Repository, *faults: Fault, ranks: int = 1) -> Ended:
        """Stage 2 to its end, as rank 0 tells it; all ranks have the same exit code."""
        with self.started(repository, *faults, ranks=ranks) as running:
            first, *others = [one.end() for one in running]
        assert {one.code for one in others} <= {first.code}, [first, *others]
        return first


# In the parent process of all forks ----------------------------------------------------------------------------------


def _run(order: Mapping[str, Any]) -> int:
    """In a fork: the command, to its exit code."""
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(order[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    os.chdir(order["folder"])
    os.environ.clear()
    os.environ.update(order["environment"])
    sys.argv[1:] = order["argv"]
    faults, main = map(importlib.import_module, IMPORTED[:2])

    for name, arguments in order["faults"]:
        getattr(faults, name)(**arguments)
    try:
        main.main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def _fork(order: Mapping[str, Any]) -> int:
    child = os.fork()
    if child:
        return child
    threading.Thread(target=_end_with, args=(os.pidfd_open(os.getppid()),), daemon=True).start()
    code = None
    try:
        code = _run(order)
    finally:
        if code is None:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1 if code is None else code)


def _end_with(parent: int) -> None:
    select.select([parent], [], [])
    os._exit(1)


def _serve() -> None:
    import torch

    from trackyard.train.engine import _deepspeed

    for name in IMPORTED:
        importlib.import_module(name)
    torch.set_num_threads(1)
    _deepspeed()
    for line in sys.stdin:
        order = json.loads(line)
        if "reap" in order:
            _, status = os.waitpid(order["reap"], 0)
            answer = os.waitstatus_to_exitcode(status)
        else:
            answer = _fork(order)
        print(answer, flush=True)


if __name__ == "__main__":
    _serve()
