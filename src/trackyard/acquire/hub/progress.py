"""Bytes of a fetch as they come, counted through the progress bars that huggingface_hub would draw."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event, Lock
from typing import Any


class Stopped(Exception):
    """Ends a worker's transfer after another one failed, or a signal came. Never leaves the fetch."""


class Tally:
    """Bytes per file, and their sum for `progress`. Used by all workers."""

    def __init__(self, *, total: int, progress: Callable[[int, int], None] | None, stop: Event) -> None:
        self._total, self._progress, self._stop = total, progress, stop
        self._bytes: dict[str, int] = {}
        self._lock = Lock()

    def start(self, there: int) -> None:
        """there: bytes of files that need not come."""
        self._set("", there)

    def done(self, path: str, size: int) -> None:
        self._set(path, size)

    def forget(self, path: str) -> None:
        """The bytes of `path` were wrong and come again."""
        self._set(path, 0)

    def add(self, path: str, count: int) -> None:
        with self._lock:
            self._bytes[path] = self._bytes.get(path, 0) + count
            self._report()
        if self._stop.is_set():
            raise Stopped

    def _set(self, path: str, count: int) -> None:
        with self._lock:
            self._bytes[path] = count
            self._report()

    def _report(self) -> None:
        if self._progress is not None:
            self._progress(min(self._total, sum(self._bytes.values())), self._total)

    def meter(self, path: str) -> Any:
        """A class to pass as `tqdm_class` for the download of `path`. One instance is one attempt."""
        tally = self

        class Meter:
            """What huggingface_hub calls on a bar, over HTTP and over xet. Draws nothing."""

            def __init__(self, *_: Any, **__: Any) -> None:
                tally.forget(path)

            def __enter__(self) -> Meter:
                return self

            def __exit__(self, *_: object) -> None:
                """Nothing to close."""

            def close(self) -> None:
                """Nothing to close."""

            def update(self, n: float | None = 1) -> None:
                tally.add(path, int(n or 0))

            def update_transfer(self, n: float | None = 1) -> None:
                """Network bytes, where xet tells them apart from bytes on disk: not counted."""

            def set_postfix_str(self, *_: Any, **__: Any) -> None:
                """Rates are not shown."""

            set_transfer_postfix_str = set_postfix_str

        return Meter
