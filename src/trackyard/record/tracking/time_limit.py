"""How long one request of MLflow's client may take. It reads that from the environment, which all threads share."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

VARIABLE = "MLFLOW_HTTP_REQUEST_TIMEOUT"


class _Asking:
    """How many threads are asking, and whether the user had set the variable before the first of them did."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._threads = 0
        self._users = False

    def begin(self, seconds: int) -> None:
        with self._lock:
            if self._threads == 0:
                self._users = VARIABLE in os.environ
            self._threads += 1
            if not self._users:
                os.environ[VARIABLE] = str(seconds)

    def end(self) -> None:
        with self._lock:
            self._threads -= 1
            # Taken away by the first that ends, it would leave the others to MLflow's own 120 s.
            if self._threads == 0 and not self._users:
                del os.environ[VARIABLE]


_asking = _Asking()


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Requests that begin inside the block get `seconds`, rounded and at least 1, unless the user has set `VARIABLE`.

    Of several blocks at once the newest counts for the requests of all that begin after it.
    """
    _asking.begin(max(1, round(seconds)))
    try:
        yield
    finally:
        _asking.end()
