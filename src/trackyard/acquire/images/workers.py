"""Processes that look at delivered bytes: one per processor, limited in memory, noticed and named when they die.

Requests and answers are length-prefixed frames over a socket, two under way per worker, so that a worker never waits
for the event loop. No pickle: what a worker says may have been decided by an image that took it over.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import resource
import signal
import socket
import struct
import traceback
from collections import deque
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from trackyard.acquire.images.check import ImageRules, Kept, Refused, check_image
from trackyard.acquire.images.faces import Faces, faces_of, text_of
from trackyard.errors import TrackyardError

NICENESS = 5
"""Of workers: where processors are short the event loop comes first, or its places stay empty while images decode."""
PIPELINE = 2
"""Images handed to a worker at once: one that it works on and the next."""
_REQUEST = struct.Struct("<II?32s")
_ANSWER = struct.Struct("<II")
_CRASH = "crash"


def internal_error(url: str, told: str) -> TrackyardError:
    """The error of a fault in this program, or of a worker that died; the first one ends the run."""
    return TrackyardError(
        what=f"internal_error at {url}\n      " + told.strip().replace("\n", "\n      "),
        why="a fault here is no property of the URL, and counting it as one would hide it; finished shards are kept",
        fix="report it with these lines; a worker that was killed lacked memory: try again with fewer workers",
    )


@dataclass(slots=True)
class _Asked:
    url: str
    answer: asyncio.Future[Kept | Refused]


@dataclass(slots=True)
class _Worker:
    process: ForkServerProcess
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    asked: deque[_Asked] = field(default_factory=deque)
    listening: asyncio.Task[None] | None = None
    ended: str | None = None
    """What is known of its end."""

    async def ask(self, data: bytes, url: str, sha256: bytes | None, faces: Faces) -> Kept | Refused:
        if self.ended is not None:
            raise internal_error(url, self.ended)
        asked = _Asked(url, asyncio.get_running_loop().create_future())
        self.asked.append(asked)
        boxes = text_of(faces).encode()
        self.writer.write(_REQUEST.pack(len(data), len(boxes), sha256 is not None, sha256 or b"") + boxes)
        self.writer.write(data)
        with suppress(ConnectionError):  # a worker that died is told by its missing answer, with its last words
            await self.writer.drain()
        return await asked.answer

    async def listen(self) -> None:
        """Hand each answer to whoever waits for it, in order; at the worker's end, fail all that wait."""
        told = ""
        try:
            while True:
                head, size = _ANSWER.unpack(await self.reader.readexactly(_ANSWER.size))
                said = json.loads(await self.reader.readexactly(head))
                data = await self.reader.readexactly(size) if size else None
                if _CRASH in said:
                    told = str(said[_CRASH])
                    continue
                found = _result(said, data)
                asked = self.asked.popleft()
                if not asked.answer.done():
                    asked.answer.set_result(found)
        except (asyncio.IncompleteReadError, ConnectionError):
            await asyncio.to_thread(self.process.join, 5)
            told = told or f"the worker ended with exit code {self.process.exitcode} and no word"
        except (ValueError, KeyError, TypeError, IndexError) as error:
            told = f"the worker gave an answer that is none: {type(error).__name__}: {error}"
        self.ended = told
        for asked in self.asked:
            if not asked.answer.done():
                asked.answer.set_exception(internal_error(asked.url, told))


class ImageWorkers:
    """A pool of workers; an asynchronous context manager, which ends what `start` has begun."""

    def __init__(self, rules: ImageRules, *, workers: int, memory_bytes: int) -> None:
        """memory_bytes: address space that a worker may take beyond what it has when it starts."""
        self._rules, self._count, self._memory_bytes = rules, workers, memory_bytes
        self._workers: list[_Worker] = []
        self._free: asyncio.Queue[_Worker] = asyncio.Queue()

    async def __aenter__(self) -> Self:
        return self

    async def start(self) -> None:
        """Start the workers. `check` may be called before: it waits for them, and downloads need not."""
        # A fork of a process with threads may hang; a fork server has none.
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([__name__])
        for _ in range(self._count):
            ours, theirs = socket.socketpair()
            process = context.Process(
                target=_work, args=(theirs, asdict(self._rules), self._memory_bytes), daemon=True, name="image worker"
            )
            await asyncio.to_thread(process.start)
            theirs.close()
            reader, writer = await asyncio.open_unix_connection(sock=ours, limit=1 << 20)
            worker = _Worker(process, reader, writer)
            worker.listening = asyncio.create_task(worker.listen())
            self._workers.append(worker)
            for _ in range(PIPELINE):
                self._free.put_nowait(worker)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self._workers:
            worker.asked.clear()
            worker.writer.close()
            if worker.listening is not None:
                worker.listening.cancel()
            if error is not None:
                worker.process.kill()
        for worker in self._workers:
            await asyncio.to_thread(worker.process.join)

    async def check(self, data: bytes, url: str, *, sha256: bytes | None, faces: Faces = ()) -> Kept | Refused:
        """`check_image` in a worker. TrackyardError (internal_error) if the worker fails or dies."""
        worker = await self._free.get()
        try:
            return await worker.ask(data, url, sha256, faces)
        finally:
            self._free.put_nowait(worker)


def _result(said: dict[str, Any], data: bytes | None) -> Kept | Refused:
    """An answer; KeyError, TypeError or ValueError for what is none."""
    if "cause" in said:
        return Refused(sha256=bytes.fromhex(said["sha256"]), cause=said["cause"], detail=said["detail"])
    return Kept(
        sha256=bytes.fromhex(said["sha256"]),
        blake3=bytes.fromhex(said["blake3"]),
        width=said["width"],
        height=said["height"],
        data=data,
        mismatch=said["mismatch"],
    )


def _work(theirs: socket.socket, rules: dict[str, Any], memory_bytes: int) -> None:
    """Life of a worker: it ends when the other end of its socket is closed, and so with its parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt is the parent's to act on
    os.nice(NICENESS)
    _limit_memory(memory_bytes)
    limits = ImageRules(**rules)
    with theirs, suppress(ConnectionError):
        stream = theirs.makefile("rb", buffering=1 << 16)
        while head := stream.read(_REQUEST.size):
            size, boxes, expected, sha256 = _REQUEST.unpack(head)
            faces = faces_of(stream.read(boxes).decode())
            data = stream.read(size)
            try:
                found = check_image(data, limits, sha256=sha256 if expected else None, faces=faces)
            except BaseException:
                _answer(theirs, {_CRASH: traceback.format_exc()}, b"")
                raise
            if isinstance(found, Refused):
                said = {"sha256": found.sha256.hex(), "cause": found.cause, "detail": found.detail}
                _answer(theirs, said, b"")
            else:
                said = {"sha256": found.sha256.hex(), "blake3": found.blake3.hex(), "mismatch": found.mismatch}
                _answer(theirs, said | {"width": found.width, "height": found.height}, found.data or b"")


def _answer(theirs: socket.socket, said: dict[str, Any], data: bytes) -> None:
    head = json.dumps(said).encode()
    theirs.sendall(_ANSWER.pack(len(head), len(data)) + head + data)


def _limit_memory(memory_bytes: int) -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * os.sysconf("SC_PAGESIZE") + memory_bytes
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))
