"""A loopback server of real photographs: each address has a cut of its own from one of them, every tenth has none.

with photo_server(FOLDER) as port: ...
"""

from __future__ import annotations

import hashlib
import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from PIL import Image

SIDE = 96
"""Pixels of a cut."""


def is_lost(path: str) -> bool:
    return _digest(path)[0] % 10 == 0


def _digest(path: str) -> bytes:
    return hashlib.sha256(path.encode()).digest()


@lru_cache
def _photos(folder: Path) -> tuple[Image.Image, ...]:
    return tuple(Image.open(path).convert("RGB") for path in sorted(folder.glob("*.jpg")))


def cut(folder: Path, path: str) -> bytes:
    """The JPEG of an address."""
    digest, photos = _digest(path), _photos(folder)
    photo = photos[digest[1] % len(photos)]
    x, y = (int.from_bytes(digest[2 + 2 * k : 4 + 2 * k]) % (photo.size[k] - SIDE) for k in range(2))
    stream = io.BytesIO()
    photo.crop((x, y, x + SIDE, y + SIDE)).save(stream, "JPEG", quality=90, comment=path)
    return stream.getvalue()


@contextmanager
def photo_server(folder: Path, port: int = 0) -> Iterator[int]:
    """Serve until the block ends; gives the port."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # One packet for head and body: else each waits for the other side's delayed acknowledgement.
        wbufsize = 1 << 16
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            body = b"" if is_lost(self.path) else cut(folder, self.path)
            self.send_response(200 if body else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing: tests read the account of who asks."""

    class Server(ThreadingHTTPServer):
        request_queue_size = 512

    server = Server(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
