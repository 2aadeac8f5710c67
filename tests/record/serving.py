"""A proxy before an MLflow server that is slow, deaf or refusing on demand; and waiting for what others do."""

from __future__ import annotations

import http.client
import http.server
import threading
import time
from collections.abc import Callable


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
