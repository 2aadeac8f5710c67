"""servers/mlflow-group.sh, for the length of a test: started as its page says, below a folder of the test's own."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import psycopg2

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "servers" / "mlflow-group.sh"
PACKAGE = "apt-get install --no-install-recommends postgresql"
UP_S, DOWN_S = 240.0, 120.0
"""Longest that a server may take to answer, and to end, on a machine with other work."""


def lacking() -> str | None:
    """What keeps PostgreSQL from being started here, in words; None if nothing does."""
    found = shutil.which("initdb") or next(Path("/usr/lib/postgresql").glob("*/bin/initdb"), None)
    return None if found else f"PostgreSQL is not installed: {PACKAGE}"


@dataclass(frozen=True, kw_only=True)
class GroupServer:
    """A running server. data: its folder."""

    data: Path
    port: int
    process: subprocess.Popen[bytes]
    out: Path

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def query(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """Rows of the database itself."""
        place = {"host": str(self.data / "socket"), "user": "mlflow", "dbname": "mlflow"}
        with closing(psycopg2.connect(**place)) as connection, connection.cursor() as cursor:
            cursor.execute(sql, values)
            return cursor.fetchall()

    def programs(self) -> list[psutil.Process]:
        """Everything that the script started."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Exit code of the script after a signal, when nothing that it started is left."""
        programs = self.programs()
        self.process.send_signal(number)
        code = self.process.wait(DOWN_S)
        assert psutil.wait_procs(programs, timeout=DOWN_S)[1] == []
        return code


@contextmanager
def group_server(argv: Sequence[str], environment: Mapping[str, str] | None = None) -> Iterator[GroupServer]:
    """Start it with the words of a command line; it has ended with the block."""
    data, port = Path(argv[argv.index("--data") + 1]), int(argv[argv.index("--port") + 1])
    out = data.with_name(f"{data.name}-out.txt")
    with open(out, "wb") as file:
        process = subprocess.Popen(argv, cwd=ROOT, env=environment, stdout=file, stderr=subprocess.STDOUT)
    server = GroupServer(data=data, port=port, process=process, out=out)
    try:
        limit = time.monotonic() + UP_S
        while "export MLFLOW_TRACKING_URI=" not in out.read_text():
            assert process.poll() is None, told(server)
            assert time.monotonic() < limit, told(server)
            time.sleep(0.1)
        yield server
    finally:
        if process.poll() is None:
            server.stop()


def told(server: GroupServer) -> str:
    """What it printed, and the ends of its logs."""
    logs = [path.read_text(errors="replace")[-2000:] for path in sorted(server.data.glob("log/*.log"))]
    return "\n".join([server.out.read_text(), *logs])


def run(command: str) -> subprocess.CompletedProcess[str]:
    """A command of the page that ends by itself, as its shell words."""
    return subprocess.run(
        shlex.split(command), cwd=ROOT, env=os.environ, capture_output=True, text=True, timeout=UP_S, check=False
    )
