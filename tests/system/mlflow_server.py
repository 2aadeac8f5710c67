"""A real MLflow server on sqlite, for the length of a test."""

from __future__ import annotations

import os
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from trackyard.launch.processes import free_port
from trackyard.record.tracking.ui import UI_ENVIRONMENT, ui_argv

UP_S, DOWN_S = 240.0, 120.0
"""Longest that a server may take to answer, and to end, on a machine with other work."""


@contextmanager
def mlflow_server(database: Path, port: int | None = None) -> Iterator[str]:
    """Its address, once it answers. port: a free one, where it may be any."""
    port = port or free_port()
    argv, environment = ui_argv(f"sqlite:///{database}", port), os.environ | UI_ENVIRONMENT
    with serving(argv, port, environment, folder=database.parent, log=database.with_suffix(".log")) as address:
        yield address


@contextmanager
def serving(
    argv: Sequence[str], port: int, environment: Mapping[str, str], *, folder: Path, log: Path
) -> Iterator[str]:
    """Start a program that serves MLflow on a port; its process group ends with the block. Its address."""
    with open(log, "wb") as file:
        server = subprocess.Popen(argv, cwd=folder, env=environment, stdout=file, stderr=file, start_new_session=True)
    address = f"http://127.0.0.1:{port}"
    limit = time.monotonic() + UP_S
    try:
        while not _answers(address):
            assert server.poll() is None, log.read_text(errors="replace")
            assert time.monotonic() < limit, f"no MLflow after {UP_S:.0f} s: {log.read_text(errors='replace')}"
            time.sleep(0.1)
        yield address
    finally:
        with suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGTERM)
        server.wait(DOWN_S)


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/health", timeout=5):
            return True
    except OSError:
        return False
