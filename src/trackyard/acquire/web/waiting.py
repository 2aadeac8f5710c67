"""When to ask, and when to ask again: places, turns at a host, Retry-After, exponential back-off with full jitter."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime

from trackyard.acquire.web.failures import Cause, Problem

LONGEST_PAUSE_S = 3600.0
"""Seconds. A host that asks for more gets this much: "Retry-After: 999999999" is a mistake."""


def retry_after_s(value: str | None, *, now: float | None = None) -> float | None:
    """Seconds that a Retry-After header asks for (a number or an HTTP date); None without one that can be read.

    now: seconds since the epoch. Source: RFC 9110 section 10.2.3.
    """
    if value is None:
        return None
    value = value.strip()
    if value.isascii() and value.isdigit():
        # Ten digits are 300 years; more would overflow where they are used.
        return min(float(value[:10]), LONGEST_PAUSE_S)
    try:
        moment = parsedate_to_datetime(value).timestamp()
    except (ValueError, OverflowError):
        return None
    return min(max(0.0, moment - (time.time() if now is None else now)), LONGEST_PAUSE_S)


def backoff(retry: int, *, base_s: float, most_s: float = 60.0) -> float:
    """Seconds before retry number `retry` (1, 2 …): uniform in [0, base * 2^(retry-1)], so that clients spread.

    Source: "full jitter", AWS Architecture Blog 2015, Exponential Backoff And Jitter.
    """
    return random.uniform(0.0, min(most_s, base_s * 2.0 ** min(retry - 1, 30)))


@dataclass(slots=True)
class _Host:
    slots: asyncio.Semaphore
    users: int = 0
    not_before: float = 0.0
    """Moment of the event loop's clock."""
    cause: Cause = field(default="http_429")


class HostTurns:
    """At most `per_host` requests to one host at once, and none while it asked to be left alone."""

    def __init__(self, per_host: int, *, patience_s: float) -> None:
        """patience_s: how long a request waits for a host that asked for a pause; a longer pause fails it at once."""
        self._per_host = per_host
        self._patience_s = patience_s
        self._hosts: dict[str, _Host] = {}

    @asynccontextmanager
    async def turn(self, name: str) -> AsyncIterator[None]:
        """Wait for a free place at a host. Problem if its pause lasts longer than the patience."""
        host = self._hosts.get(name)
        if host is None:
            host = self._hosts[name] = _Host(asyncio.Semaphore(self._per_host))
        host.users += 1
        clock = asyncio.get_running_loop().time
        try:
            async with host.slots:
                # Another answer may have prolonged the pause meanwhile.
                while (pause := host.not_before - clock()) > 0:
                    if pause > self._patience_s:
                        detail = f"the host asked not to be asked again for {pause:.0f} s"
                        raise Problem(host.cause, detail, retry_after_s=pause)
                    await asyncio.sleep(pause)
                yield
        finally:
            host.users -= 1
            if host.users == 0 and host.not_before <= clock():
                del self._hosts[name]

    def pause(self, name: str, seconds: float, cause: Cause) -> None:
        """Let no request start at a host for that long."""
        host = self._hosts.setdefault(name, _Host(asyncio.Semaphore(self._per_host)))
        host.not_before = max(host.not_before, asyncio.get_running_loop().time() + seconds)
        host.cause = cause


@dataclass(slots=True)
class _Ticket:
    aside: bool = False


class Places:
    """At most `count` requests at once. One that turns out to be slow steps aside, and another takes its place.

    Of a web crawl some 4 % hang until their cap; if they kept their places, those few would fill all of them (F14).
    """

    def __init__(self, count: int, *, slow_s: float, most_aside: int) -> None:
        """slow_s: after which a request counts as slow. most_aside: slow requests at once, besides `count` others."""
        self._free = asyncio.Semaphore(count)
        self._slow_s = slow_s
        self._most_aside = most_aside
        self._aside = 0

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Wait for a place."""
        await self._free.acquire()
        ticket = _Ticket()
        timer = asyncio.get_running_loop().call_later(self._slow_s, self._step_aside, ticket)
        try:
            yield
        finally:
            timer.cancel()
            if ticket.aside:
                self._aside -= 1
            else:
                self._free.release()

    def _step_aside(self, ticket: _Ticket) -> None:
        if self._aside < self._most_aside:
            self._aside += 1
            ticket.aside = True
            self._free.release()
