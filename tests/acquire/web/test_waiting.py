"""Waiting: Retry-After in both forms and in none, and back-off that spreads within its bound."""

from __future__ import annotations

import asyncio
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackyard.acquire.web.failures import Problem
from trackyard.acquire.web.waiting import LONGEST_PAUSE_S, HostTurns, backoff, retry_after_s


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("Wed, 99 Oct 2015 07:28:00 GMT", None),
        ("0", 0.0),
        (" 7 ", 7.0),
        ("86400", LONGEST_PAUSE_S),
        ("9" * 400, LONGEST_PAUSE_S),
        (formatdate(1_000_030, usegmt=True), 30.0),
        (formatdate(999_000, usegmt=True), 0.0),
        (formatdate(9_000_000_000, usegmt=True), LONGEST_PAUSE_S),
    ],
)
def test_retry_after(value: str | None, seconds: float | None) -> None:
    assert retry_after_s(value, now=1_000_000.0) == seconds


@given(st.text(max_size=40))
def test_any_header_is_read_or_ignored(value: str) -> None:
    found = retry_after_s(value)
    assert found is None or 0 <= found <= LONGEST_PAUSE_S


@given(st.integers(1, 10_000))
def test_backoff_stays_within_its_doubling_bound(retry: int) -> None:
    assert 0 <= backoff(retry, base_s=0.5) <= min(60.0, 0.5 * 2.0 ** min(retry - 1, 30))


def test_backoff_spreads() -> None:
    found = [backoff(3, base_s=1.0) for _ in range(1000)]
    assert min(found) < 0.4
    assert max(found) > 3.6


def test_hosts_are_forgotten_once_nobody_waits() -> None:
    async def visit() -> int:
        turns = HostTurns(2, patience_s=1.0)
        for number in range(100):
            async with turns.turn(f"host{number}"):
                pass
        turns.pause("slow", 60.0, "http_429")
        with pytest.raises(Problem, match="asked not to be asked again for 60 s"):
            async with turns.turn("slow"):
                pytest.fail("asked")
        return len(turns._hosts)

    assert asyncio.run(visit()) == 1, "only the host that is paused"
