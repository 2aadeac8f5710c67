"""Programs that a test keeps running in the foreground, so that they are its own to end."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

UP_S = 240.0
"""Longest that a daemon may take to answer, on a machine with other work."""
_DOWN_S = 30.0


class Daemons:
    """Started in order, ended in the reverse one. logs: folder of what they print."""

    def __init__(self, logs: Path, environment: Mapping[str, str]) -> None:
        self.logs = logs
        self._environment = {**os.environ, **environment}
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, program: str, *arguments: str) -> None:
        with open(self.logs / f"{name}.txt", "ab") as log:
            argv = [str(which(program)), *arguments]
            self._running[name] = subprocess.Popen(argv, env=self._environment, stdout=log, stderr=log)

    def stop(self, name: str, number: signal.Signals = signal.SIGTERM) -> None:
        """End one; SIGKILL where it does not hear."""
        daemon = self._running.pop(name)
        daemon.send_signal(number)
        try:
            daemon.wait(_DOWN_S)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()

    def stop_all(self) -> None:
        for name in reversed(list(self._running)):
            self.stop(name)

    def wait(self, condition: Callable[[], object], what: str) -> None:
        """Until `condition` holds; AssertionError with the logs where it never does or a daemon has ended."""
        limit = time.monotonic() + UP_S
        while not condition():
            ended = [name for name, daemon in self._running.items() if daemon.poll() is not None]
            if ended or time.monotonic() > limit:
                logs = "\n".join(f"{path.name}: {path.read_text(errors='replace')[-2000:]}"
                                 for path in sorted(self.logs.iterdir()))  # fmt: skip
                raise AssertionError(f"{what}: {f'{ended} ended' if ended else f'not after {UP_S:.0f} s'}\n{logs}")
            time.sleep(0.1)


def which(program: str) -> str | None:
    """Path of a program, looked for among those of the administrator as well."""
    return shutil.which(program, path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"]))
