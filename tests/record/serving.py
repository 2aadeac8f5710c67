"""A real MLflow server on loopback, and a proxy before it that is slow, deaf or refusing on demand."""

from __future__ import annotations

import http.client
import http.server
import os
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from trackyard.record.tracking.ui import UI_ENVIRONMENT, ui_argv


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def mlflow_server(database: Path, port: int | None = None) -> Iterator[str]:
    """The server of `make ui` over a sqlite file; ended by its own process id."""
    port = port or free_port()
    environment = {**os.environ, **UI_ENVIRONMENT}
    argv = ui_argv(f"sqlite:///{database}", port)
    with subprocess.Popen(
        argv, env=environment, cwd=database.parent, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            wait_for(lambda: answers(port), seconds=120)
            assert process.poll() is None
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(timeout=60)


def answers(port: int) -> bool:
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2).close()
    except OSError:
        return False
    return True


def wait_for(true: Callable[[], bool], *, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


class Proxy:
    """Passes requests on to `target`. delay_s: before each answer, of the next `delayed` ones.

    swallow: end of a path whose next request is carried out and never answered. refuse: status that is answered instead
    of passing on.
    """

    def __init__(self, target: str) -> None:
        self.delay_s = 0.0
        self.delayed = 1 << 30
        self.swallow: str | None = None
        self.refuse: int | None = None
        self.requests: list[str] = []
        port = int(target.rpartition(":")[2])
        proxy = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def _pass_on(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
                proxy.requests.append(self.path)
                if proxy.refuse is not None:
                    self.send_error(proxy.refuse)
                    return
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
                headers = {**dict(self.headers), "Host": f"127.0.0.1:{port}"}
                connection.request(self.command, self.path, body, headers)
                answer = connection.getresponse()
                data = answer.read()
                connection.close()
                if proxy.swallow and self.path.endswith(proxy.swallow):
                    proxy.swallow = None
                    self.close_connection = True
                    return
                if proxy.delayed > 0:
                    proxy.delayed -= 1
                    time.sleep(proxy.delay_s)
                self.send_response(answer.status)
                self.send_header("Content-Type", answer.headers.get("Content-Type", "application/json"))
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _pass_on

            def log_message(self, *arguments: object) -> None:
                return

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.uri = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Proxy:
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
