"""A real MLflow server on sqlite, for the length of a test, and what its database holds."""

from __future__ import annotations

import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trackyard.record.tracking.ui import UI_ENVIRONMENT, ui_argv

UP_S = 90.0


@contextmanager
def mlflow_server(database: Path) -> Iterator[str]:
    """Its address, once it answers."""
    port = free_port()
    environment = os.environ | UI_ENVIRONMENT
    # Where the program is not told the store in its arguments, it is told here.
    environment["MLFLOW_BACKEND_STORE_URI"] = f"sqlite:///{database}"
    log = database.with_suffix(".log")
    with open(log, "wb") as file:
        server = subprocess.Popen(
            ui_argv(f"sqlite:///{database}", port), env=environment, stdout=file, stderr=file, cwd=database.parent
        )
    try:
        wait_for(f"http://127.0.0.1:{port}", server, log)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(30)


def free_port() -> int:
    """A port of 127.0.0.1 that nothing listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def wait_for(uri: str, server: subprocess.Popen[bytes], log: Path) -> None:
    limit = time.monotonic() + UP_S
    while time.monotonic() < limit:
        assert server.poll() is None, log.read_text(errors="replace")
        try:
            with urllib.request.urlopen(f"{uri}/health", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise AssertionError(f"no MLflow after {UP_S:.0f} s: {log.read_text(errors='replace')}")
