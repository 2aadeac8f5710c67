"""The web of benchmark B1: slow, and broken in known places. A separate process that prints its port.

    python benchmarks/image_server.py --urls 6000

Each URL is /NUMBER, and its behaviour follows from the number and the seed alone: latency lognormal(-1.2, 0.8) seconds
(median 0.30, at most 4), 10 % answer 404, 4 % hang, 2 % are HTML with status 200, 1 % a JPEG cut to a third, the rest a
640 x 480 JPEG of their own. At most 83 % can succeed. Trace: performance specification, section 10.4.
"""

from __future__ import annotations

import argparse
import asyncio
import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SEED = 0
PICTURES = 64
"""Different pictures; each URL adds a comment to one of them, so that no two bodies are equal."""
SHARES = {"missing": 0.10, "hang": 0.04, "html": 0.02, "cut": 0.01}
HTML = b"<!doctype html><title>gone</title>" + b"<p>This page has moved.</p>" * 40


@dataclass(frozen=True, slots=True)
class Trace:
    """kinds: per URL, an index into names, whose last is `ok`; latency: seconds [urls]."""

    kinds: NDArray[np.int8]
    latency: NDArray[np.float64]
    names: tuple[str, ...] = (*SHARES, "ok")

    def numbers(self, *names: str) -> set[int]:
        """URLs of these kinds."""
        return set(np.flatnonzero(np.isin(self.kinds, [self.names.index(name) for name in names])).tolist())


def trace(urls: int) -> Trace:
    """The behaviour of every URL."""
    generator = np.random.default_rng(SEED)
    edges = np.cumsum(list(SHARES.values()))
    kinds = np.searchsorted(edges, generator.random(urls), side="right").astype(np.int8)
    return Trace(kinds, np.minimum(4.0, generator.lognormal(-1.2, 0.8, urls)))


def picture(number: int) -> bytes:
    """A 640 x 480 JPEG of about 60 kB with structure at all scales, as photographs have."""
    generator = np.random.default_rng([SEED, number])
    sizes = (4, 16, 64, 240)
    layers = [
        np.asarray(
            Image.fromarray(generator.integers(0, 256, (size * 3 // 4, size, 3), dtype=np.uint8)).resize(
                (640, 480), Image.Resampling.BICUBIC
            ),
            dtype=np.float32,
        )
        for size in sizes
    ]
    pixels = sum(layer * weight for layer, weight in zip(layers, (0.5, 0.25, 0.15, 0.10), strict=True))
    stream = io.BytesIO()
    Image.fromarray(np.asarray(pixels).astype(np.uint8)).save(stream, "JPEG", quality=92)
    return stream.getvalue()


def body_of(pictures: list[bytes], number: int) -> bytes:
    """The JPEG of one URL: the start, a comment with its number, the rest of the picture."""
    data = pictures[number % len(pictures)]
    comment = f"{number:012d}".encode()
    return data[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + data[2:]


class _Connection(asyncio.Protocol):
    def __init__(self, behaviour: Trace, pictures: list[bytes]) -> None:
        self._trace, self._pictures = behaviour, pictures
        self._received = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport if isinstance(transport, asyncio.Transport) else None

    def data_received(self, data: bytes) -> None:
        self._received += data
        while b"\r\n\r\n" in self._received:
            head, _, self._received = self._received.partition(b"\r\n\r\n")
            number = int(head.split(b" ", 2)[1].lstrip(b"/"))
            kind = self._trace.names[self._trace.kinds[number]]
            if kind != "hang":
                loop = asyncio.get_running_loop()
                loop.call_later(self._trace.latency[number], self._answer, number, kind)

    def _answer(self, number: int, kind: str) -> None:
        status, sort, body = "200 OK", "image/jpeg", b""
        if kind == "missing":
            status, sort = "404 Not Found", "text/html"
        elif kind == "html":
            sort, body = "text/html", HTML
        else:
            body = body_of(self._pictures, number)
            body = body[: len(body) // 3] if kind == "cut" else body
        if self._transport is not None and not self._transport.is_closing():
            head = f"HTTP/1.1 {status}\r\nContent-Type: {sort}\r\nContent-Length: {len(body)}\r\n\r\n"
            self._transport.write(head.encode() + body)


async def serve(urls: int) -> None:
    """Listen on the loopback address until killed."""
    behaviour, pictures = trace(urls), [picture(number) for number in range(PICTURES)]
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Connection(behaviour, pictures), "127.0.0.1", 0, backlog=2048)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--urls", type=int, default=6000)
    asyncio.run(serve(parser.parse_args().urls))
