"""A guarded client for millions of small files by URL: every limit holds, every failure has one cause.

    async with GuardedClient(FetchLimits(), AddressPolicy()) as client:
        fetched = await client.get("https://example.org/cat.jpg")

Source: theworld section 7 (download), reliability F14 and F15.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import aiohttp
from pydantic import Field, model_validator
from yarl import URL

from trackyard import __version__
from trackyard.acquire.web.addresses import AddressPolicy, AddressRefused, Lookup, check_literal, check_url, look_up
from trackyard.acquire.web.body import opted_out, read_body
from trackyard.acquire.web.failures import HANDLED, Problem, problem_of, problem_of_status, shown
from trackyard.acquire.web.failures import Cause as Cause
from trackyard.acquire.web.transport import open_session, plain_header, redirect_target
from trackyard.acquire.web.waiting import HostTurns, Places, backoff, retry_after_s
from trackyard.parameters import Parameters
from trackyard.redact import Redactor

KEPT_HEADERS = ("etag", "last-modified")
SLOW_SHARE = 2


class FetchLimits(Parameters):
    """Limits of one client. Source of the defaults: theworld section 7."""

    connect_s: float = Field(default=5.0, gt=0)
    """Seconds for looking a name up, and again for connecting."""
    stall_s: float = Field(default=5.0, gt=0)
    """Seconds without a byte."""
    total_s: float = Field(default=20.0, gt=0)
    """Seconds for one URL: all redirects, retries and the waits between them. Waiting for a place among `in_flight` and
    `per_host` is not counted, nor is a pause that the host asked other requests for: those are not the URL's fault."""
    max_bytes: int = Field(default=20_000_000, gt=0)
    """Body, before and after decompression."""
    max_redirects: int = Field(default=3, ge=0)
    retries: int = Field(default=2, ge=0)
    """After timeout, 5xx, 429 or a reset connection; nothing else is tried again."""
    backoff_s: float = Field(default=1.0, ge=0)
    """Longest wait before the first retry; doubled for each further one."""
    in_flight: int = Field(default=256, gt=0)
    """Requests at once, slow ones not counted."""
    slow_s: float = Field(default=1.0, gt=0)
    """Seconds after which a request counts as slow. There may be SLOW_SHARE times `in_flight` of those
    besides the others; each takes a descriptor."""
    per_host: int = Field(default=4, gt=0)
    user_agent: str = f"trackyard/{__version__}"

    @model_validator(mode="after")
    def _connecting_is_a_part(self) -> Self:
        if self.connect_s > self.total_s:
            raise ValueError(f"connect_s={self.connect_s} exceeds total_s={self.total_s}")
        return self

    @property
    def most_at_once(self) -> int:
        """Calls of `get` that a client can have on the way; a caller that keeps fewer of them waiting leaves places
        empty while others are slow."""
        return (1 + SLOW_SHARE) * self.in_flight


class FetchFailure(Exception):
    """A URL that could not be had. attempts: 1 and its retries; 0 if it was refused before a request. Redirects are not
    counted, nor is the one repetition that aiohttp makes where a kept connection turns out to be closed.

    detail: redacted, and so is the text. retry_after_s: how long the host asked to be left alone, if it did.
    """

    def __init__(self, cause: Cause, detail: str, *, attempts: int, retry_after_s: float | None = None) -> None:
        super().__init__(f"{cause}: {detail}")
        self.cause: Cause = cause
        self.detail = detail
        self.attempts = attempts
        self.retry_after_s = retry_after_s


@dataclass(frozen=True, kw_only=True, slots=True)
class Fetched:
    """A body. url: the last of the redirects; its query may hold a signature, so it is not for logs. content_type: as
    claimed, without parameters. headers: those of KEPT_HEADERS that were sent, by lower-case name."""

    url: str
    body: bytes
    content_type: str
    headers: dict[str, str]
    attempts: int


class GuardedClient:
    """Fetches URLs within limits; an asynchronous context manager, for one event loop."""

    def __init__(self, limits: FetchLimits, policy: AddressPolicy, *, lookup: Lookup = look_up) -> None:
        """lookup: how names are resolved."""
        self._limits = limits
        self._policy = policy
        self._lookup = lookup
        self._redactor = Redactor()
        self._places = Places(limits.in_flight, slow_s=limits.slow_s, most_aside=SLOW_SHARE * limits.in_flight)
        self._hosts = HostTurns(limits.per_host, patience_s=limits.total_s)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        limits = self._limits
        self._session = open_session(
            self._policy,
            connect_s=limits.connect_s,
            stall_s=limits.stall_s,
            user_agent=limits.user_agent,
            lookup=self._lookup,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def get(self, url: str) -> Fetched:
        """The body of `url`; FetchFailure otherwise, EnvironmentLacking if this machine ran out of descriptors."""
        if self._session is None:
            raise RuntimeError("GuardedClient is used outside `async with`")
        try:
            target = check_url(url)
            check_literal(target, self._policy)
        except AddressRefused as refused:
            raise FetchFailure(refused.cause, self._redactor.text(refused.detail), attempts=0) from None
        request = _Request(target, self._limits.total_s)
        while True:
            try:
                fetched = await self._ask(self._session, request)
            except Problem as problem:
                delay = self._delay(request, problem)
                if delay is None:
                    detail = self._redactor.text(f"{problem.detail} at {shown(request.url, self._redactor)}")
                    # The chain is cut: errors of aiohttp repeat the URL with whatever it carries.
                    raise FetchFailure(
                        problem.cause, detail, attempts=request.attempts, retry_after_s=problem.retry_after_s
                    ) from None
                request.retries += 1
                request.left_s -= delay
                await asyncio.sleep(delay)
            else:
                if fetched is not None:
                    return fetched

    def _delay(self, request: _Request, problem: Problem) -> float | None:
        """Seconds until this URL is asked for again; None if it is given up. A host's wish holds for all its URLs."""
        asked = problem.retry_after_s
        if asked is not None:
            self._hosts.pause(_host(request.url), asked, problem.cause)
        if not problem.again or request.retries == self._limits.retries:
            return None
        delay = max(asked or 0.0, backoff(request.retries + 1, base_s=self._limits.backoff_s))
        return delay if delay < request.left_s else None

    async def _ask(self, session: aiohttp.ClientSession, request: _Request) -> Fetched | None:
        """One request; None if it was redirected. Problem if it failed."""
        clock = asyncio.get_running_loop().time
        # The place at the host comes first: whoever waits for a busy host must not hold a place that others could use.
        async with self._hosts.turn(_host(request.url)), self._places.place():
            started = clock()
            request.attempts = request.retries + 1
            try:
                async with (
                    asyncio.timeout(request.left_s),
                    session.get(request.url, allow_redirects=False) as response,
                ):
                    return await self._take(request, response)
            except HANDLED as error:
                raise problem_of(error) from None
            finally:
                request.left_s -= clock() - started

    async def _take(self, request: _Request, response: aiohttp.ClientResponse) -> Fetched | None:
        if response.status < 400 and (directive := opted_out(response)):
            raise Problem("opt_out", f"X-Robots-Tag: {directive}")
        target = redirect_target(response, request.url)
        if target is not None:
            if request.redirects == self._limits.max_redirects:
                raise Problem("redirects", f"more than {self._limits.max_redirects} redirects")
            check_literal(target, self._policy)
            request.redirects += 1
            request.url = target
            return None
        problem = problem_of_status(response.status)
        if problem is not None:
            if response.status in (429, 503):
                problem.retry_after_s = retry_after_s(response.headers.get("Retry-After"))
            raise problem
        return Fetched(
            url=str(request.url),
            body=await read_body(response, max_bytes=self._limits.max_bytes),
            content_type=response.content_type.encode("ascii", "replace").decode(),
            headers={name: value for name in KEPT_HEADERS if (value := plain_header(response, name)) is not None},
            attempts=request.attempts,
        )


@dataclass(slots=True)
class _Request:
    """What has become of one URL so far. url: where the redirects have led. left_s: of its total_s."""

    url: URL
    left_s: float
    retries: int = 0
    redirects: int = 0
    attempts: int = 0


def _host(url: URL) -> str:
    """Whose turn it is: the host, with its port where that is another server."""
    return url.raw_host or "" if url.is_default_port() else f"{url.raw_host}:{url.port}"
