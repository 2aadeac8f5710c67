"""Why a transfer failed: one cause per failure, told from what aiohttp raises, without a secret in its words.

Source of the causes: theworld section 7, one row has one outcome.
"""

from __future__ import annotations

import errno
import ssl
from typing import Literal

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError
from yarl import URL

from trackyard.acquire.web.addresses import AddressRefused
from trackyard.errors import EnvironmentLacking
from trackyard.redact import REDACTED, Redactor

Cause = Literal[
    "dns", "connect_timeout", "read_timeout", "tls", "connection", "blocked_address", "bad_url", "redirects",
    "http_403", "http_404", "http_410", "http_429", "http_4xx", "http_5xx", "opt_out", "too_large", "truncated",
]  # fmt: skip

HANDLED = (aiohttp.ClientError, HttpProcessingError, AddressRefused, OSError)
"""What a request can end with through no fault of this program; TimeoutError is an OSError."""

_RESET = (errno.ECONNRESET, errno.EPIPE, errno.ECONNABORTED)
_OWN = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
"""Errors of this machine, which say nothing about a URL."""


class Problem(Exception):
    """One attempt that failed. again: another attempt may succeed. retry_after_s: what the server asked for."""

    def __init__(self, cause: Cause, detail: str, *, again: bool = False, retry_after_s: float | None = None) -> None:
        super().__init__(detail)
        self.cause: Cause = cause
        self.detail = detail
        self.again = again
        self.retry_after_s = retry_after_s


def problem_of(error: BaseException) -> Problem:
    """The problem behind one of HANDLED. EnvironmentLacking if this machine, not the other, ran out of something."""
    if isinstance(error, AddressRefused):
        return Problem(error.cause, error.detail)
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return Problem("dns", str(error.os_error))
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return Problem("connect_timeout", "no connection in time", again=True)
    if isinstance(error, TimeoutError):
        return Problem("read_timeout", "no complete answer in time", again=True)
    if isinstance(error, aiohttp.ClientSSLError | aiohttp.ClientConnectorCertificateError | ssl.SSLError):
        return Problem("tls", _words(error))
    if isinstance(error, aiohttp.ClientPayloadError):
        # A body that ends in a reset is a broken connection; one that just ends was announced longer. aiohttp tells
        # the two apart in its message only.
        if "ConnectionResetError" in str(error):
            return Problem("connection", "reset in the middle of the body", again=True)
        return Problem("truncated", "the body ended before its announced end")
    if isinstance(error, aiohttp.InvalidURL):
        return Problem("bad_url", "not a URL that can be requested")
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return Problem("connection", "closed before an answer", again=True)
    if isinstance(error, OSError):
        number = error.os_error.errno if isinstance(error, aiohttp.ClientConnectorError) else error.errno
        if number in _OWN:
            raise EnvironmentLacking(
                what=f"this machine cannot open another connection: {_words(error)}",
                why="addresses would be counted as dead that were never asked",
                fix="raise the limit (`ulimit -n 4096`) or lower in_flight, then run the same command again",
            )
        return Problem("connection", _words(error), again=number in _RESET)
    return Problem("connection", f"not HTTP as agreed ({type(error).__name__})")


def _words(error: BaseException) -> str:
    """An error in words of the system, never in those of aiohttp, which may repeat the URL."""
    inner = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        inner = error.certificate_error
    if isinstance(inner, ssl.SSLError) and inner.reason:
        return inner.reason.lower().replace("_", " ")
    if isinstance(inner, OSError) and inner.errno is not None and inner.errno in errno.errorcode:
        return f"{errno.errorcode[inner.errno]} ({inner.strerror})"
    return type(inner).__name__


def problem_of_status(status: int) -> Problem | None:
    """The problem that an HTTP status stands for; None for one that brings the whole body."""
    if 200 <= status < 300:
        # Nothing here asks for a part of a small file.
        return Problem("truncated", "HTTP 206: a part that was not asked for") if status == 206 else None
    if status in (403, 404, 410, 429):
        causes: dict[int, Cause] = {403: "http_403", 404: "http_404", 410: "http_410", 429: "http_429"}
        return Problem(causes[status], f"HTTP {status}", again=status == 429)
    if 400 <= status < 500:
        return Problem("http_4xx", f"HTTP {status}", again=False)
    if 500 <= status < 600:
        return Problem("http_5xx", f"HTTP {status}", again=True)
    return Problem("connection", f"HTTP {status} is no answer to a request", again=False)


def shown(url: URL, redactor: Redactor) -> str:
    """`url` as it may be written anywhere: no user, no password, no query, no fragment, no known secret in the path."""
    host = f"[{url.raw_host}]" if url.raw_host and ":" in url.raw_host else url.raw_host or ""
    port = "" if url.is_default_port() or url.port is None else f":{url.port}"
    query = f"?{REDACTED}" if url.raw_query_string else ""
    return redactor.text(f"{url.scheme}://{host}{port}{url.raw_path}{query}")
