"""A tracking server that misbehaves on demand, in front of one that does not (reliability F22).

It passes every request on to a real `mlflow server`, so that what does arrive arrives as in life.
"""

from __future__ import annotations

import http.client
import http.server
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, cast
from urllib.parse import urlsplit

from trackyard.launch.processes import free_port

Mode = Literal["good", "slow", "500", "429", "lost"]
"""slow: each answer takes `SLOW_S`. 500, 429: the answer to everything but the question whether the server is up, and
nothing is passed on. lost: the request is carried out, and its answer never arrives."""

SLOW_S = 10.0
HEALTH = "/health"
HOP = ("connection", "host", "keep-alive", "transfer-encoding", "content-length")


class SlowMlflow:
    """A server on a port of its own, which it keeps when it goes away and comes back. asked: requests by mode."""

    def __init__(self, upstream: str) -> None:
        self.mode: Mode = "good"
        self.asked: Counter[str] = Counter()
        self._upstream = urlsplit(upstream).netloc
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None
        self.port = free_port()
        self.ending = threading.Event()

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def back(self) -> None:
        """Listen."""
        self.ending.clear()
        self._server = _Server(self, self._upstream)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def gone(self) -> None:
        """Refuse new connections, and answer nothing on those that are open: what a killed server looks like."""
        assert self._server is not None
        assert self._thread is not None
        self.ending.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self._server = None

    @property
    def listening(self) -> bool:
        return self._server is not None


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    # Ended threads are not waited for: one of them may be in the middle of its ten seconds.
    block_on_close = False

    def __init__(self, faults: SlowMlflow, upstream: str) -> None:
        self.faults, self.upstream = faults, upstream
        super().__init__(("127.0.0.1", faults.port), _Request)


class _Request(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def _answer(self) -> None:
        server = cast(_Server, self.server)
        faults = server.faults
        mode = faults.mode
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        faults.asked[mode] += 1
        if mode == "slow":
            faults.ending.wait(SLOW_S)
        if faults.ending.is_set():
            self.close_connection = True
            return
        if mode in ("500", "429") and self.path != HEALTH:
            self._send(int(mode), {"Content-Type": "application/json"}, b'{"error_code": "INTERNAL_ERROR"}')
            return
        upstream = http.client.HTTPConnection(server.upstream, timeout=60)
        try:
            named = {name: value for name, value in self.headers.items() if name.lower() not in HOP}
            upstream.request(self.command, self.path, body, named)
            answer = upstream.getresponse()
            content = answer.read()
        finally:
            upstream.close()
        if mode == "lost" and self.path != HEALTH:
            self.close_connection = True
            return
        self._send(answer.status, {k: v for k, v in answer.getheaders() if k.lower() not in HOP}, content)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _answer

    def _send(self, status: int, named: dict[str, str], content: bytes) -> None:
        try:
            self.send_response_only(status)
            for name, value in named.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
        except (BrokenPipeError, ConnectionResetError):
            # Whoever asked did not wait so long.
            self.close_connection = True

    def log_message(self, *_arguments: object) -> None:
        """Silence."""


@contextmanager
def slow_mlflow(upstream: str) -> Iterator[SlowMlflow]:
    """One that listens and is good, to begin with."""
    faults = SlowMlflow(upstream)
    faults.back()
    try:
        yield faults
    finally:
        if faults.listening:
            faults.gone()
