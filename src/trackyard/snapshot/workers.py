"""The processes of a build: one per unit, so that memory goes back with it, and a killed one is noticed and named."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from trackyard.errors import TrackyardError
from trackyard.snapshot.units import Unit, write_unit


@dataclass(frozen=True, slots=True)
class _Worker:
    process: ForkServerProcess
    result: Connection
    unit: Unit


def write_units(work: Path, units: Sequence[Unit], *, workers: int, shard_bytes: int, strict: bool) -> Iterator[Unit]:
    """Write units, at most `workers` at a time, and yield each when it is complete, in any order.

    One worker is this process. The first error ends all the others, whose units are then not there.
    """
    if workers <= 1 or len(units) <= 1:
        for unit in units:
            write_unit(work, unit, shard_bytes=shard_bytes, strict=strict)
            yield unit
        return
    # A fork of a process with threads (Arrow's, a tracker's) may hang; a fork server has none.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["trackyard.snapshot.units", "trackyard.acquire.importing.reading"])
    waiting = list(reversed(units))
    running: dict[Connection, _Worker] = {}
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                unit = waiting.pop()
                receive, send = context.Pipe(duplex=False)
                process = context.Process(target=_work, args=(send, work, unit, shard_bytes, strict), daemon=True)
                process.start()
                send.close()
                running[receive] = _Worker(process, receive, unit)
            for ready in wait(list(running)):
                if isinstance(ready, Connection):
                    yield _ended(running.pop(ready))
    finally:
        for worker in running.values():
            worker.process.kill()
        for worker in running.values():
            worker.process.join()
            worker.result.close()


def _ended(worker: _Worker) -> Unit:
    """The unit of a worker that has finished; raises what stopped it."""
    try:
        problem: Exception | None = worker.result.recv()
    except EOFError:
        worker.process.join()
        raise TrackyardError(
            what=f"the worker of part {worker.unit.parts[0].name} ended with {worker.process.exitcode} and no word",
            why="it was killed, most often for want of memory; its part is not written, the others are kept",
            fix="repeat the same command with fewer --workers",
        ) from None
    worker.process.join()
    worker.result.close()
    if problem is not None:
        raise problem
    return worker.unit


def _work(send: Connection, work: Path, unit: Unit, shard_bytes: int, strict: bool) -> None:
    live_with_parent()
    try:
        write_unit(work, unit, shard_bytes=shard_bytes, strict=strict)
    except (TrackyardError, OSError) as problem:
        send.send(problem)
        return
    send.send(None)


def live_with_parent() -> None:
    """A worker ends with its parent, who alone acts on signals: they often go to a whole group."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
