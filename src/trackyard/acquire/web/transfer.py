"""The bytes of one large file over connections that break: attempts, redirects, and going on where the last one ended.

Source: RFC 9110 sections 13 (If-Range) and 14 (Range); reliability F1, F10, F14.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping

import aiohttp
from pydantic import Field
from yarl import URL

from trackyard import __version__
from trackyard.acquire.web.addresses import AddressPolicy, check_literal
from trackyard.acquire.web.failures import HANDLED, Cause, Problem, problem_of, problem_of_status
from trackyard.acquire.web.partial import Origin, Partial
from trackyard.acquire.web.transport import open_session, plain_header, redirect_target
from trackyard.acquire.web.waiting import backoff, retry_after_s
from trackyard.parameters import Parameters

PASSING: frozenset[Cause] = frozenset(
    {"dns", "connect_timeout", "read_timeout", "connection", "truncated", "http_429", "http_5xx"}
)
"""What may be over at the next attempt."""
_MISTAKES: frozenset[Cause] = frozenset({"dns", "connection"})
"""An unknown name or a closed port is a mistake as long as nothing has answered; afterwards it is an outage. A reset is
an answer of a kind."""
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")


class DownloadLimits(Parameters):
    """Limits of one download. There is none on its whole time: a terabyte takes what it takes."""

    connect_s: float = Field(default=10.0, gt=0)
    """Seconds for looking a name up, and again for connecting."""
    stall_s: float = Field(default=60.0, gt=0)
    """Seconds in which at least `stall_bytes` have to arrive."""
    stall_bytes: int = Field(default=65_536, gt=0)
    attempts: int = Field(default=8, gt=0)
    """In a row that bring fewer than `stall_bytes`; then the download is given up, and can be continued."""
    backoff_s: float = Field(default=1.0, ge=0)
    """Longest wait before the first retry; doubled for each further one, up to a minute."""
    max_redirects: int = Field(default=5, ge=0)
    user_agent: str = f"trackyard/{__version__}"


class Transfer:
    """Brings what a partial file lacks."""

    def __init__(
        self,
        source: URL,
        partial: Partial,
        policy: AddressPolicy,
        limits: DownloadLimits,
        *,
        headers: Mapping[str, str],
        on_bytes: Callable[[int], None] | None,
    ) -> None:
        """headers: for the origin of `source` only."""
        self._source = source
        self._partial = partial
        self._policy = policy
        self._limits = limits
        self._headers = dict(headers)
        self._on_bytes = on_bytes
        self._received = 0
        self._answered = False

    async def run(self) -> None:
        """Attempts until the file is whole; the last Problem once too many in a row brought nothing, or at once where
        another attempt would end in the same way."""
        limits, fruitless = self._limits, 0
        async with open_session(
            self._policy, connect_s=limits.connect_s, stall_s=limits.stall_s, user_agent=limits.user_agent
        ) as session:
            while True:
                before = self._received
                try:
                    await self._attempt(session)
                    return
                except Problem as problem:
                    fruitless = 1 if self._received - before >= limits.stall_bytes else fruitless + 1
                    mistaken = problem.cause in _MISTAKES and not problem.again and not self._answered
                    passing = problem.cause in PASSING and not mistaken
                    if not passing or fruitless >= limits.attempts:
                        raise
                    delay = max(problem.retry_after_s or 0.0, backoff(fruitless, base_s=limits.backoff_s))
                await asyncio.sleep(delay)

    async def _attempt(self, session: aiohttp.ClientSession) -> None:
        """Follow the redirects and take what comes; Problem if the file is not whole then."""
        limits, partial, url = self._limits, self._partial, self._source
        conditions: dict[str, str] = {}
        if partial.offset and partial.origin is not None and partial.origin.validator is not None:
            conditions = {"Range": f"bytes={partial.offset}-", "If-Range": partial.origin.validator}
        headers = self._headers
        for _ in range(limits.max_redirects + 1):
            try:
                check_literal(url, self._policy)
                async with (
                    asyncio.timeout(2 * limits.connect_s + limits.stall_s) as watch,
                    session.get(url, allow_redirects=False, headers=headers | conditions) as response,
                ):
                    self._answered = True
                    target = redirect_target(response, url)
                    if target is None:
                        await self._take(response, watch)
                        return
            except HANDLED as error:
                raise problem_of(error) from None
            if target.origin() != url.origin():
                headers = {}
            url = target
        raise Problem("redirects", f"more than {limits.max_redirects} redirects")

    async def _take(self, response: aiohttp.ClientResponse, watch: asyncio.Timeout) -> None:
        """Write the body behind what is there, or from the first byte if the server does not go on."""
        partial = self._partial
        if response.status == 416:
            partial.restart(None)
            raise Problem("truncated", "HTTP 416: the file is shorter than what lies here")
        total: int | None
        if response.status == 206:
            total = self._continued(response)
        else:
            problem = problem_of_status(response.status)
            if problem is not None:
                problem.retry_after_s = retry_after_s(response.headers.get("Retry-After"))
                raise problem
            total = response.content_length
            partial.restart(
                Origin(
                    address=partial.address,
                    etag=plain_header(response, "ETag"),
                    last_modified=plain_header(response, "Last-Modified"),
                    bytes=total,
                )
            )
        if total is not None:
            partial.check_size(total)
        partial.need(total)
        await self._write(response, watch)

    def _continued(self, response: aiohttp.ClientResponse) -> int:
        """Bytes of the whole file, from a 206 that goes on exactly behind the bytes here and with the same file.

        Problem otherwise, and the bytes here are dropped.
        """
        partial = self._partial
        origin = partial.origin
        found = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if found is not None and origin is not None and partial.offset:
            total = int(found[3])
            etag = plain_header(response, "ETag") or origin.etag
            if int(found[1]) == partial.offset and origin.bytes in (None, total) and etag == origin.etag:
                return total
        partial.restart(None)
        raise Problem("truncated", "HTTP 206 with another part than the one that was asked for")

    async def _write(self, response: aiohttp.ClientResponse, watch: asyncio.Timeout) -> None:
        limits, partial = self._limits, self._partial
        clock, window = asyncio.get_running_loop().time, 0
        watch.reschedule(clock() + limits.stall_s)
        async for part in response.content.iter_any():
            partial.write(part)
            self._received += len(part)
            window += len(part)
            if self._on_bytes is not None:
                self._on_bytes(len(part))
            if partial.expected.bytes is not None and partial.offset > partial.expected.bytes:
                partial.check_size(partial.offset)
            if window >= limits.stall_bytes:
                window = 0
                watch.reschedule(clock() + limits.stall_s)
        # Without a Content-Length the end of the connection looks like the end of the file.
        if partial.expected.bytes is not None and partial.offset < partial.expected.bytes:
            raise Problem("truncated", f"{partial.offset:,} of {partial.expected.bytes:,} bytes")
