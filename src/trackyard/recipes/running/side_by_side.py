"""The same work on several cells or seeds at once: one import of what it needs, then a process for each.

Importing a model's code takes longer than measuring a small model. On GPUs each process has one to itself.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkProcess
from typing import TypeVar

from trackyard.errors import EXIT_FAILED, TrackyardError

Item = TypeVar("Item")
VISIBLE = "CUDA_VISIBLE_DEVICES"


def places(threads: int) -> list[str | None]:
    """Where work can be done at once: a value of CUDA_VISIBLE_DEVICES for each GPU, else None for each CPU core.

    threads: that one process computes with on a CPU. Nothing is initialised on a GPU, which would not survive a fork.
    """
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
    import torch

    gpus = torch.cuda.device_count()
    if gpus:
        named = os.environ.get(VISIBLE)
        numbers: list[str | None] = [*named.split(",")] if named else [str(number) for number in range(gpus)]
        return numbers[:gpus]
    return [None] * max(1, len(os.sched_getaffinity(0)) // threads)


def side_by_side(work: Callable[[Item], None], items: Sequence[Item], at: Sequence[str | None]) -> None:
    """Do `work` for every item, as many at once as there are places; in this process where that is one.

    All items are tried; then the first error is raised, with how many failed. A killed process is a TrackyardError.
    """
    if min(len(items), len(at)) == 1:
        for item in items:
            work(item)
        return
    fork = multiprocessing.get_context("fork")
    alive = os.pipe()
    waiting, free = list(items), list(at)
    running: dict[int, tuple[Item, str | None, ForkProcess, Connection]] = {}
    failed: list[TrackyardError] = []
    sys.stdout.flush()
    try:
        while waiting or running:
            while waiting and free:
                item, place = waiting.pop(0), free.pop(0)
                receive, send = fork.Pipe(duplex=False)
                process = fork.Process(target=_child, args=(work, item, place, send, alive))
                process.start()
                send.close()
                running[process.sentinel] = (item, place, process, receive)
            for sentinel in wait(list(running)):
                assert isinstance(sentinel, int), sentinel
                item, place, process, receive = running.pop(sentinel)
                process.join()
                free.append(place)
                error = _error(item, process, receive)
                failed += [] if error is None else [error]
    finally:
        # After a stop signal nobody takes what they would put out.
        for _, _, process, receive in running.values():
            process.kill()
            process.join()
            receive.close()
        for end in alive:
            os.close(end)
    if failed:
        first = failed[0]
        if len(failed) > 1:
            first.what += f"   (and {len(failed) - 1} more of {len(items)} failed)"
        raise first


def _error(item: object, process: ForkProcess, receive: Connection) -> TrackyardError | None:
    with receive:
        if process.exitcode == 0:
            return None
        # What it wrote is there to be read even when the process is gone.
        if receive.poll():
            try:
                told = receive.recv()
            except EOFError:
                told = None
            if isinstance(told, TrackyardError):
                return told
    return TrackyardError(
        what=f"the process for {getattr(item, 'name', item)} ended with exit code {process.exitcode}",
        why="its results are not there; a traceback is above, and -9 is what a lack of memory looks like",
        fix="run the same command again: what the others measured is kept",
    )


def _child(
    work: Callable[[Item], None], item: Item, place: str | None, send: Connection, alive: tuple[int, int]
) -> None:
    os.close(alive[1])
    threading.Thread(target=_end_with_parent, args=(alive[0],), daemon=True).start()
    if place is not None:
        os.environ[VISIBLE] = place
    try:
        work(item)
    except TrackyardError as error:
        send.send(error)
        sys.exit(error.exit_code or EXIT_FAILED)


def _end_with_parent(alive: int) -> None:
    """The other end is closed when the parent is gone, even killed."""
    os.read(alive, 1)
    os._exit(EXIT_FAILED)
