"""A loopback server of images, most of them good, the others broken each in its own way: one way per path.

    python -m tests.loopback.images       # prints its port; /counts tells how often each path was asked for

The image of a number is the same wherever it is generated, so a test knows every byte that should arrive.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import hashlib
import io
import json
import os
import signal
import struct
import subprocess
import sys
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
MAX_BYTES = 2_000_000
"""The limit on bodies that the broken ones are made for."""

CAUSES = {
    "404": "http_404",
    "403": "http_403",
    "410": "http_410",
    "500": "http_5xx",
    "429": "http_429",
    "418": "http_4xx",
    "hang": "read_timeout",
    "drip": "read_timeout",
    "reset": "connection",
    "html": "not_image",
    "cut": "truncated",
    "short": "truncated",
    "bomb": "too_large",
    "pixels": "pixel_limit",
    "small": "too_small",
    "aspect": "aspect",
    "damaged": "decode_error",
    "noai": "opt_out",
    "loop": "redirects",
}
"""What a client should make of each path. `flaky` is 404 while the process has not been told to heal (SIGUSR1)."""


def jpeg(number: int, width: int = 48, height: int = 40) -> bytes:
    """An image of four fields whose colours spell the number."""
    image = Image.new("RGB", (width, height))
    for field in range(4):
        shade = number >> 5 * field & 31
        box = (field * width // 4, 0, (field + 1) * width // 4, height)
        image.paste((shade * 8, 255 - shade * 8, field * 80), box)
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=90)
    return stream.getvalue()


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def png(width: int, height: int) -> bytes:
    """A grey PNG of zeros: a few kilobytes, however many pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    squeeze = zlib.compressobj(9)
    rows = b"".join(squeeze.compress(bytes(width + 1)) for _ in range(height)) + squeeze.flush()
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def _head(status: str, length: int, extra: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Type: image/jpeg\r\nContent-Length: {length}\r\n{extra}\r\n".encode()


Answer = tuple[bytes, str]
"""Bytes, and what follows: `keep` the connection, `close` it, `reset` it, or `hold` it open in silence."""


def _answers() -> dict[str, Callable[[int], Answer]]:
    def plain(status: str) -> Callable[[int], Answer]:
        return lambda number: (_head(status, 0), "keep")

    def body(make: Callable[[int], bytes], extra: str = "") -> Callable[[int], Answer]:
        def answer(number: int) -> Answer:
            data = make(number)
            return _head("200 OK", len(data), extra) + data, "keep"

        return answer

    bomb, pixels = gzip.compress(bytes(20 * MAX_BYTES)), png(12_000, 12_000)
    statuses = {
        "404": "Not Found",
        "403": "Forbidden",
        "410": "Gone",
        "418": "Teapot",
        "429": "Too Many",
        "500": "Error",
    }
    return {code: plain(f"{code} {words}") for code, words in statuses.items()} | {
        "ok": body(jpeg),
        "copy": body(lambda number: jpeg(number)),
        "html": body(lambda number: b"<html>gone</html>"),
        "cut": body(lambda number: jpeg(number, 400, 400)[:1200]),
        "bomb": body(lambda number: bomb, "Content-Encoding: gzip\r\n"),
        "pixels": body(lambda number: pixels),
        "small": body(lambda number: jpeg(number, 40, 31)),
        "aspect": body(lambda number: jpeg(number, 361, 40)),
        "damaged": body(lambda number: b"\xff\xd8\xff\xe0" + bytes(200)),
        "noai": body(jpeg, "X-Robots-Tag: noai\r\n"),
        "hang": lambda number: (b"", "hold"),
        "drip": lambda number: (_head("200 OK", 500) + b"\xff", "drip"),
        "reset": lambda number: (b"", "reset"),
        "short": lambda number: (_head("200 OK", 5000) + jpeg(number), "close"),
        "loop": lambda number: (_head("302 Found", 0, f"Location: /loop/{number}\r\n"), "keep"),
    }


class _Server:
    def __init__(self) -> None:
        self.answers = _answers()
        self.counts: Counter[str] = Counter()
        self.healed = False

    def answer(self, path: str) -> Answer:
        self.counts[path] += 1
        _, kind, number = path.split("/")
        if kind == "flaky":
            kind = "ok" if self.healed else "404"
        return self.answers[kind](int(number))


class _Connection(asyncio.Protocol):
    def __init__(self, server: _Server) -> None:
        self._server = server
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        while b"\r\n\r\n" in self._received:
            head, _, self._received = self._received.partition(b"\r\n\r\n")
            path = head.split(b" ", 2)[1].decode()
            if path == "/counts":
                told = json.dumps(self._server.counts).encode()
                self._transport.write(_head("200 OK", len(told)) + told)
                continue
            sent, then = self._server.answer(path)
            self._transport.write(sent)
            if then == "close":
                self._transport.close()
            elif then == "reset":
                self._transport.abort()
            elif then == "drip":
                self._drip()

    def _drip(self) -> None:
        if not self._transport.is_closing():
            self._transport.write(b"\xff")
            asyncio.get_running_loop().call_later(0.3, self._drip)


async def _serve() -> None:
    serving = _Server()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR1, lambda: setattr(serving, "healed", True))
    server = await loop.create_server(lambda: _Connection(serving), "127.0.0.1", 0, backlog=2048)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


class ImageServer:
    """The server in a process of its own."""

    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self._process = process
        self.port = port

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def counts(self) -> Counter[str]:
        """How often each path has been asked for."""
        import urllib.request

        with urllib.request.urlopen(self.url("/counts"), timeout=10) as answer:
            return Counter(json.loads(answer.read()))

    def heal(self) -> None:
        """From now on `flaky` is `ok`."""
        self._process.send_signal(signal.SIGUSR1)


@contextlib.contextmanager
def image_server() -> Iterator[ImageServer]:
    """Start the server and end it with the block."""
    command = [sys.executable, "-m", "tests.loopback.images"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield ImageServer(process, int(process.stdout.readline()))
        finally:
            process.kill()


if __name__ == "__main__":
    asyncio.run(_serve())
