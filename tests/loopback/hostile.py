"""A loopback web server that misbehaves on purpose, in a thread: what the web does to a client, replayable.

    with HostileServer() as server:
        server.files["archive.bin"] = Served(body)
        client.get(server.url("/drip"))

Raw sockets under asyncio, so that headers can lie. Each path of BEHAVIOURS is one fault of F14; `server.seen` lists the
requests that arrived. Listens on 127.0.0.1 only.
"""

from __future__ import annotations

import asyncio
import contextlib
import email.utils
import gzip
import random
import socket
import ssl
import struct
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

Writer = asyncio.StreamWriter


@dataclass(frozen=True, slots=True)
class Request:
    """path: without the query. options: the first value of each query parameter. headers: lower-case names.
    gone: waits until the client has closed its end."""

    method: str
    path: str
    options: dict[str, str]
    headers: dict[str, str]
    gone: Callable[[], Awaitable[object]]


Behaviour = Callable[["HostileServer", Request, Writer], Awaitable[bool]]
"""Answers one request; True if the connection may be used again."""


@dataclass(slots=True)
class Served:
    """A file below /file/. breaks: bytes after which each next answer is reset, in order; then it is served whole.

    ranges: whether Range is honoured. bytes_per_s: None is as fast as it goes.
    """

    body: bytes
    etag: str | None = '"v1"'
    last_modified: str | None = None
    ranges: bool = True
    breaks: list[int] = field(default_factory=list)
    bytes_per_s: int | None = None


class HostileServer:
    """A context manager; everything it started ends with it."""

    def __init__(self, *, tls: ssl.SSLContext | None = None, family: socket.AddressFamily = socket.AF_INET) -> None:
        self.files: dict[str, Served] = {}
        self.behaviours: dict[str, Behaviour] = dict(BEHAVIOURS)
        self.seen: list[Request] = []
        self.counts: Counter[str] = Counter()
        """Requests by path and query, for behaviours that change with the attempt."""
        self.at_once = 0
        self.most_at_once = 0
        self.connections = 0
        self._tls = tls
        self._family = family
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._ready = threading.Event()
        self.port = 0

    def url(self, path: str) -> str:
        host = "[::1]" if self._family == socket.AF_INET6 else "127.0.0.1"
        return f"{'https' if self._tls else 'http'}://{host}:{self.port}{path}"

    def __enter__(self) -> HostileServer:
        self._thread.start()
        if not self._ready.wait(10):
            raise RuntimeError("the loopback server did not start")
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        listening = socket.socket(self._family)
        listening.bind(("::1" if self._family == socket.AF_INET6 else "127.0.0.1", 0))
        self.port = listening.getsockname()[1]
        server = self._loop.run_until_complete(
            asyncio.start_server(self._connected, sock=listening, ssl=self._tls, backlog=1024)
        )
        self._ready.set()
        try:
            self._loop.run_forever()
        finally:
            server.close()
            tasks = asyncio.all_tasks(self._loop)
            for task in tasks:
                task.cancel()
            self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
            self._loop.close()

    async def _connected(self, reader: asyncio.StreamReader, writer: Writer) -> None:
        self.connections += 1
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while await self._answer(reader, writer):
                pass
        writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: Writer) -> bool:
        first = await reader.readexactly(1)
        if first == b"\x16":  # a TLS handshake on a port that speaks plain HTTP
            await send(writer, status="400 Bad Request")
            return False
        head = (first + await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, target, _ = head[0].split(" ", 2)
        parts = urlsplit(target)
        headers = {name.strip().lower(): value.strip() for name, _, value in (row.partition(":") for row in head[1:-2])}
        options = {name: values[0] for name, values in parse_qs(parts.query).items()}
        request = Request(method, parts.path, options, headers, reader.read)
        self.seen.append(request)
        self.counts[target] += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            name = "/" + parts.path.split("/")[1]
            return await self.behaviours.get(name, _missing)(self, request, writer)
        finally:
            self.at_once -= 1

    def count(self, request: Request) -> int:
        """How often exactly this has been asked for, this time included."""
        query = "&".join(f"{name}={value}" for name, value in request.options.items())
        return self.counts[request.path + (f"?{query}" if query else "")]


async def send(
    writer: Writer, body: bytes = b"", *, status: str = "200 OK", headers: dict[str, str] | None = None
) -> bool:
    """An honest answer; True, so that a behaviour can return it."""
    fields = {"Content-Length": str(len(body)), "Content-Type": "image/jpeg"} | (headers or {})
    head = f"HTTP/1.1 {status}\r\n" + "".join(f"{name}: {value}\r\n" for name, value in fields.items()) + "\r\n"
    writer.write(head.encode("latin-1") + body)
    await writer.drain()
    return True


def reset(writer: Writer) -> bool:
    """End the connection with RST instead of FIN."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
    return False


async def _missing(_server: HostileServer, _request: Request, writer: Writer) -> bool:
    return await send(writer, status="404 Not Found")


async def _ok(_server: HostileServer, request: Request, writer: Writer) -> bool:
    """?size=bytes&seed=n&ms=delay; always the same bytes for one query."""
    await asyncio.sleep(int(request.options.get("ms", "0")) / 1000)
    size = int(request.options.get("size", "100"))
    if "seed" not in request.options:
        return await send(writer, b"x" * size)
    return await send(writer, random.Random(request.options["seed"]).randbytes(size))


async def _status(server: HostileServer, request: Request, writer: Writer) -> bool:
    """/status/503?times=2&after=1: that status, `times` times, with a Retry-After of `after`; then 200."""
    if server.count(request) > int(request.options.get("times", "1000000")):
        return await send(writer, b"at last")
    after = request.options.get("after")
    headers = {} if after is None else {"Retry-After": after}
    return await send(writer, status=f"{request.path.split('/')[2]} Whatever", headers=headers)


async def _retry_date(server: HostileServer, request: Request, writer: Writer) -> bool:
    """429 with a Retry-After of an HTTP date `?in=` seconds away, once; then 200."""
    if server.count(request) > 1:
        return await send(writer, b"at last")
    moment = email.utils.formatdate(email.utils.localtime().timestamp() + int(request.options["in"]), usegmt=True)
    return await send(writer, status="429 Too Many Requests", headers={"Retry-After": moment})


async def _drip(_server: HostileServer, _request: Request, writer: Writer) -> bool:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 50000\r\n\r\n")
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.05)


async def _drip_headers(_server: HostileServer, _request: Request, writer: Writer) -> bool:
    writer.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.05)


async def _hang(_server: HostileServer, request: Request, _writer: Writer) -> bool:
    await request.gone()
    return False


async def _hang_after_headers(_server: HostileServer, request: Request, writer: Writer) -> bool:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    await request.gone()
    return False


async def _redirect(_server: HostileServer, request: Request, writer: Writer) -> bool:
    """?to=URL&code=302"""
    headers = {"Location": request.options["to"]} if "to" in request.options else {}
    return await send(writer, status=f"{request.options.get('code', '302')} Found", headers=headers)


async def _loop(_server: HostileServer, _request: Request, writer: Writer) -> bool:
    return await send(writer, status="301 Moved", headers={"Location": "/loop"})


async def _bomb(_server: HostileServer, _request: Request, writer: Writer) -> bool:
    """100 MB of zeros in 100 kB of gzip."""
    return await send(writer, gzip.compress(bytes(10_000_000)) * 10, headers={"Content-Encoding": "gzip"})


async def _gzip(_server: HostileServer, request: Request, writer: Writer) -> bool:
    """?size=&cut=: an honest gzip body, or one without its last `cut` bytes; two members."""
    half = int(request.options.get("size", "1000")) // 2
    body = gzip.compress(b"a" * half) + gzip.compress(b"b" * half)
    return await send(
        writer, body[: len(body) - int(request.options.get("cut", "0"))], headers={"Content-Encoding": "gzip"}
    )


async def _brotli(_server: HostileServer, _request: Request, writer: Writer) -> bool:
    return await send(writer, b"\x8b\x03\x80", headers={"Content-Encoding": "br"})


async def _short(_server: HostileServer, _request: Request, writer: Writer) -> bool:
    """Content-Length larger than the body, then the end."""
    await send(writer, b"x" * 10, headers={"Content-Length": "1000"})
    return False


async def _long(_server: HostileServer, _request: Request, writer: Writer) -> bool:
    """Content-Length smaller than what follows: the rest pretends to be another answer."""
    rest = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"
    return await send(writer, b"x" * 10 + rest, headers={"Content-Length": "10"})


async def _announced(_server: HostileServer, _request: Request, writer: Writer) -> bool:
    """10 GB announced, and sent for as long as anyone reads."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10000000000\r\n\r\n")
    while True:
        writer.write(bytes(65536))
        await writer.drain()


async def _endless(_server: HostileServer, _request: Request, writer: Writer) -> bool:
    """Chunks without end."""
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"10000\r\n" + bytes(65536) + b"\r\n")
        await writer.drain()


async def _reset(server: HostileServer, request: Request, writer: Writer) -> bool:
    """?times=1&mid=1: reset before the answer, or in its middle, `times` times; then 200."""
    if server.count(request) > int(request.options.get("times", "1000000")):
        return await send(writer, b"at last")
    if "mid" in request.options:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nxxx")
        await writer.drain()
        await asyncio.sleep(0.05)
    return reset(writer)


async def _close(_server: HostileServer, _request: Request, _writer: Writer) -> bool:
    """The end without an answer."""
    return False


async def _html(_server: HostileServer, _request: Request, writer: Writer) -> bool:
    """An error page with 200 that claims to be a picture."""
    return await send(writer, b"<!doctype html><title>Not found</title>", headers={"Content-Type": "image/jpeg"})


async def _robots(_server: HostileServer, request: Request, writer: Writer) -> bool:
    """?tag=noai"""
    return await send(writer, b"x" * 10, headers={"X-Robots-Tag": request.options["tag"]})


async def _cookie(_server: HostileServer, _request: Request, writer: Writer) -> bool:
    return await send(writer, b"x", headers={"Set-Cookie": "who=me; Path=/"})


async def _file(server: HostileServer, request: Request, writer: Writer) -> bool:
    """/file/<name>: with Range and If-Range as RFC 9110 has them, unless the `Served` says otherwise."""
    served = server.files.get(request.path.removeprefix("/file/"))
    if served is None:
        return await send(writer, status="404 Not Found")
    validators = {"ETag": served.etag, "Last-Modified": served.last_modified}
    headers = {name: value for name, value in validators.items() if value is not None}
    start, status = 0, "200 OK"
    wanted = request.headers.get("range")
    condition = request.headers.get("if-range")
    if served.ranges and wanted is not None and condition in (None, served.etag, served.last_modified):
        start = int(wanted.removeprefix("bytes=").removesuffix("-"))
        if start >= len(served.body):
            headers["Content-Range"] = f"bytes */{len(served.body)}"
            return await send(writer, status="416 Range Not Satisfiable", headers=headers)
        headers["Content-Range"] = f"bytes {start}-{len(served.body) - 1}/{len(served.body)}"
        status = "206 Partial Content"
    body = memoryview(served.body)[start:]
    stop = served.breaks.pop(0) if served.breaks else None
    headers["Content-Length"] = str(len(body))
    await send(writer, status=status, headers=headers)
    step = max(1, served.bytes_per_s // 100) if served.bytes_per_s else 1 << 18
    for position in range(0, len(body), step):
        if stop is not None and position + step > stop:
            writer.write(bytes(body[position:stop]))
            await writer.drain()
            await asyncio.sleep(0.05)  # so that the reset does not overtake the bytes
            return reset(writer)
        writer.write(bytes(body[position : position + step]))
        await writer.drain()
        if served.bytes_per_s:
            await asyncio.sleep(0.01)
    return True


BEHAVIOURS: dict[str, Behaviour] = {
    "/ok": _ok,
    "/status": _status,
    "/retry-date": _retry_date,
    "/drip": _drip,
    "/drip-headers": _drip_headers,
    "/hang": _hang,
    "/hang-after-headers": _hang_after_headers,
    "/redirect": _redirect,
    "/loop": _loop,
    "/bomb": _bomb,
    "/gzip": _gzip,
    "/brotli": _brotli,
    "/short": _short,
    "/long": _long,
    "/announced": _announced,
    "/endless": _endless,
    "/reset": _reset,
    "/close": _close,
    "/html": _html,
    "/robots": _robots,
    "/cookie": _cookie,
    "/file": _file,
}


def raw(answer: bytes) -> Behaviour:
    """A behaviour that sends exactly these bytes and closes."""

    async def behave(_server: HostileServer, _request: Request, writer: Writer) -> bool:
        writer.write(answer)
        await writer.drain()
        return False

    return behave


@contextlib.contextmanager
def deaf_port() -> Iterator[int]:
    """A port where a connection is never completed: its queue is full and stays so."""
    with contextlib.ExitStack() as stack:
        listening = stack.enter_context(socket.socket())
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listening.getsockname())
        yield listening.getsockname()[1]


def closed_port() -> int:
    """A port where nothing listens."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return int(held.getsockname()[1])


def self_signed(folder: Path) -> ssl.SSLContext:
    """A server context whose certificate no client has a reason to trust."""
    from datetime import UTC, datetime, timedelta

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = folder / "server.pem"
    path.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context
