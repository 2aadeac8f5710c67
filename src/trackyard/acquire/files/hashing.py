"""blake3 of many files at once: the loop that every proof of bytes runs through.

Two ways of reading, by size. A small file is opened, read and hashed in one call that leaves the interpreter once: with
more, threads wait for each other longer than for the bytes. A larger one is read into a buffer of its thread. Nothing
is mapped into memory: there, a sector that cannot be read, or a file cut while it is read, ends the process with
SIGBUS; here it is an OSError, which names the file.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait

from blake3 import blake3

SMALL = 16 * 1024
"""Bytes. Below, blake3's own reader reads; from here on it would map the file."""
BUFFER = 1 << 20
"""Bytes that a thread reads at once; they stay in the processor's cache until they are hashed."""
CHUNK_FILES, CHUNK_BYTES = 256, 16 << 20
"""What a thread takes at a time, whichever is reached first."""
MAX_WORKERS = 16
POLL_S = 0.2
"""Seconds between two calls of `progress`."""

Progress = Callable[[int, int], None]
"""Called in the caller's thread with the files and bytes done so far, the last time with the totals."""


def default_workers() -> int:
    """Processors that this process may use, at most `MAX_WORKERS`."""
    return min(len(os.sched_getaffinity(0)), MAX_WORKERS)


def hash_files(
    root: str, files: Sequence[tuple[str, int]], *, workers: int | None = None, progress: Progress | None = None
) -> list[str | OSError]:
    """Digests in the order of `files`, each (path below `root`, size in bytes by which the way of reading is chosen).

    A file that cannot be read has its OSError in its place. An exception in the caller's thread, such as a signal's,
    stops the threads within a buffer each and is raised.
    """
    work = _Work(root, files)
    workers = max(1, min(workers or default_workers(), len(work.chunks)))
    with ThreadPoolExecutor(workers, thread_name_prefix="hashing") as pool:
        try:
            threads = [pool.submit(work.run) for _ in range(workers)]
            while wait(threads, timeout=POLL_S).not_done:
                if progress is not None:
                    progress(work.files_done, work.bytes_done)
        finally:
            work.stop.set()
    for thread in threads:
        thread.result()
    if progress is not None:
        progress(work.files_done, work.bytes_done)
    return work.results


class _Work:
    """What the threads share. Only the counts need a lock: chunks leave the deque, and results lie at own places."""

    def __init__(self, root: str, files: Sequence[tuple[str, int]]) -> None:
        self.root, self.files = root, files
        self.chunks = deque(_chunks(files))
        self.results: list[str | OSError] = [""] * len(files)
        self.files_done = self.bytes_done = 0
        self.stop = threading.Event()
        self._counting = threading.Lock()

    def run(self) -> None:
        """Take chunks until there is none left."""
        buffer = bytearray(BUFFER)
        while not self.stop.is_set():
            try:
                chunk = self.chunks.popleft()
            except IndexError:
                return
            for number in chunk:
                if self.stop.is_set():
                    return
                name, size = self.files[number]
                path = f"{self.root}/{name}"
                try:
                    self.results[number] = self._digest(path, size, buffer)
                except OSError as error:
                    # Neither blake3 nor a read of an open file says which.
                    self.results[number] = error if error.filename else type(error)(f"{path}: {error}")
            small = sum(size for _, size in (self.files[number] for number in chunk) if size < SMALL)
            self._count(len(chunk), small)

    def _digest(self, path: str, size: int, buffer: bytearray) -> str:
        hasher = blake3()
        if size < SMALL:
            hasher.update_mmap(path)
            return hasher.hexdigest()
        view = memoryview(buffer)
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            while not self.stop.is_set() and (count := os.readv(handle, [buffer])):
                hasher.update(view[:count])
                self._count(0, count)
        finally:
            os.close(handle)
        return hasher.hexdigest()

    def _count(self, files: int, size: int) -> None:
        with self._counting:
            self.files_done += files
            self.bytes_done += size


def _chunks(files: Sequence[tuple[str, int]]) -> Iterator[list[int]]:
    """Numbers of the files, largest first, so that no thread is left alone with a long one at the end."""
    chunk: list[int] = []
    size = 0
    for number in sorted(range(len(files)), key=lambda number: -files[number][1]):
        chunk.append(number)
        size += files[number][1]
        if len(chunk) == CHUNK_FILES or size >= CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk
