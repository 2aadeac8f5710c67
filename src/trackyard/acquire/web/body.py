"""Reading the body of an answer within a byte limit, before and after decompression, and what its headers forbid."""

from __future__ import annotations

import re
import zlib

import aiohttp

from trackyard.acquire.web.failures import Problem

OPT_OUT = frozenset({"noai", "noimageai"})
_GZIP = 16 + zlib.MAX_WBITS


def opted_out(response: aiohttp.ClientResponse) -> str | None:
    """The X-Robots-Tag directive that forbids use for training, whichever agent it names; None without one."""
    if "X-Robots-Tag" not in response.headers:
        return None
    words = re.split(r"[\s,:;]+", ",".join(response.headers.getall("X-Robots-Tag")).lower())
    return next((word for word in words if word in OPT_OUT), None)


async def read_body(response: aiohttp.ClientResponse, *, max_bytes: int) -> bytes:
    """The whole body, decompressed; Problem too_large as soon as it is known to exceed `max_bytes`.

    The session must not decompress by itself: only here is its output bounded while it grows.
    """
    announced = response.content_length
    if announced is not None and announced > max_bytes:
        raise Problem("too_large", f"{announced} bytes announced, {max_bytes} allowed")
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in ("identity", "", "gzip", "x-gzip"):
        raise Problem("connection", f"Content-Encoding {encoding[:20]!r} was not asked for")
    unpack = _Gunzip(max_bytes) if "gzip" in encoding else None
    parts: list[bytes] = []
    received = 0
    async for part in response.content.iter_any():
        received += len(part)
        if received > max_bytes:
            raise Problem("too_large", f"more than {max_bytes} bytes")
        parts.append(part if unpack is None else unpack.feed(part))
    if unpack is not None and not unpack.complete:
        raise Problem("truncated", "the gzip stream ended before its end")
    return parts[0] if len(parts) == 1 else b"".join(parts)


class _Gunzip:
    """Members of a gzip stream, one after another, at most `max_bytes` together."""

    def __init__(self, max_bytes: int) -> None:
        self._left = max_bytes
        self._max_bytes = max_bytes
        self._member = zlib.decompressobj(_GZIP)

    @property
    def complete(self) -> bool:
        return self._member.eof

    def feed(self, data: bytes) -> bytes:
        """What `data` unpacks to; Problem too_large or, for damaged data, truncated."""
        parts: list[bytes] = []
        while data:
            if self._member.eof:
                self._member = zlib.decompressobj(_GZIP)
            try:
                part = self._member.decompress(data, self._left + 1)
            except zlib.error:
                raise Problem("truncated", "the gzip stream is damaged") from None
            self._left -= len(part)
            if self._left < 0:
                raise Problem("too_large", f"more than {self._max_bytes} bytes after decompression")
            parts.append(part)
            data = self._member.unused_data if self._member.eof else self._member.unconsumed_tail
        return b"".join(parts)
