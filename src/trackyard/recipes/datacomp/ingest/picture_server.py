"""The site of the mini track: a thread that answers on the loopback interface for a name that exists only here.

with PictureServer(seed=0) as server:
    fetch_images(rows, directory, parameters=parameters, policy=server.policy, lookup=server.lookup)
"""

from __future__ import annotations

import asyncio
import io
import socket
import struct
import threading
import zlib
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Literal, Self

import numpy as np
from PIL import Image

from trackyard.acquire.web.addresses import AddressPolicy
from trackyard.recipes.datacomp.ingest.mini_web import HOST, OK, shown
from trackyard.recipes.datacomp.scenes import jpeg, scene

LOOPBACK = "127.0.0.1"
PRIVATE = "http://10.0.0.1/picture.jpg"
_Then = Literal["stay", "hang", "reset"]
_STATUSES = {
    "gone": "404 Not Found",
    "forbidden": "403 Forbidden",
    "removed": "410 Gone",
    "teapot": "418 I'm a teapot",
    "busy": "429 Too Many Requests",
    "error": "500 Internal Server Error",
}


class PictureServer:
    """A context manager; `policy` and `lookup` are what a client needs to find it."""

    def __init__(self, *, seed: int) -> None:
        """seed: of the scenes."""
        self._seed = seed
        self._started: Future[int] = Future()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="picture server", daemon=True)
        self.policy = AddressPolicy.parse((f"{LOOPBACK}/32",))

    def __enter__(self) -> Self:
        self._thread.start()
        self._port = self._started.result()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def lookup(self, host: str, port: int) -> list[tuple[Any, ...]]:
        """As `socket.getaddrinfo`, for a web in which there is this site alone."""
        if host != HOST:
            raise socket.gaierror(socket.EAI_NONAME, f"{host} is not known here")
        return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (LOOPBACK, self._port))]

    def _run(self) -> None:
        try:
            listening = self._loop.create_server(lambda: _Connection(self._seed), LOOPBACK, 0, backlog=1024)
            server = self._loop.run_until_complete(listening)
        except OSError as error:
            self._started.set_exception(error)
            return
        self._started.set_result(server.sockets[0].getsockname()[1])
        self._loop.run_forever()
        server.close()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()


class _Connection(asyncio.Protocol):
    def __init__(self, seed: int) -> None:
        self._seed, self._received = seed, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        while b"\r\n\r\n" in self._received:
            head, _, self._received = self._received.partition(b"\r\n\r\n")
            told, then = answer(self._seed, head.split(b" ", 2)[1].decode())
            if then == "reset" and isinstance(self._transport, asyncio.Transport):
                self._transport.abort()
            elif told and isinstance(self._transport, asyncio.Transport):
                self._transport.write(told)


def answer(seed: int, path: str) -> tuple[bytes, _Then]:
    """The answer to a path of `mini_web`, and what becomes of the connection."""
    _, kind, name = path.split("/")
    number = int(name.partition(".")[0])
    if kind in _STATUSES:
        return _head(_STATUSES[kind], 0), "stay"
    if kind in ("silent", "reset"):
        return b"", "hang" if kind == "silent" else "reset"
    if kind in ("loop", "private"):
        return _head("302 Found", 0, f"Location: {path if kind == 'loop' else PRIVATE}\r\n"), "stay"
    if kind == "huge":
        return _head("200 OK", 10**10), "stay"
    body = _BODIES.get(kind, _picture)(seed, number)
    return _head("200 OK", len(body), "X-Robots-Tag: noai\r\n" if kind == "noai" else "") + body, "stay"


def _head(status: str, length: int, extra: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Type: image/jpeg\r\nContent-Length: {length}\r\n{extra}\r\n".encode()


def _picture(seed: int, number: int) -> bytes:
    return jpeg(scene(seed, shown(number)))


def _of_size(width: int, height: int) -> Callable[[int, int], bytes]:
    """Noise: a picture that nobody would want, were it not refused for its shape."""

    def body(seed: int, number: int) -> bytes:
        pixels = np.random.default_rng((seed, number)).integers(0, 256, (height, width, 3), dtype=np.uint8)
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, "PNG")
        return stream.getvalue()

    return body


def _bomb(seed: int, number: int) -> bytes:
    """The header of a PNG of 900 million pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    return b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))


_BODIES: Mapping[str, Callable[[int, int], bytes]] = {
    OK: _picture,
    "page": lambda *_: b"<!doctype html><title>moved</title>",
    "cut": lambda seed, number: _picture(seed, number)[:-200],
    "damaged": lambda *_: b"\xff\xd8\xff\xe0" + bytes(300),
    "bomb": _bomb,
    "small": _of_size(40, 31),
    "narrow": _of_size(361, 40),
}
