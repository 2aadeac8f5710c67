"""Causes: what this machine lacks is never counted against an address, and addresses are written without secrets."""

from __future__ import annotations

import errno
from typing import get_args

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey
from yarl import URL

from trackyard.acquire.web.failures import Cause, problem_of, problem_of_status, shown
from trackyard.errors import EnvironmentLacking
from trackyard.redact import Redactor

KEY = ConnectionKey("example.org", 443, True, True, None, None, None)


def test_missing_descriptors_are_no_dead_address() -> None:
    error = aiohttp.ClientConnectorError(KEY, OSError(errno.EMFILE, "Too many open files"))
    with pytest.raises(EnvironmentLacking, match="EMFILE") as raised:
        problem_of(error)
    assert "ulimit -n" in raised.value.fix


def test_only_resets_are_worth_another_attempt() -> None:
    for number, again in ((errno.ECONNRESET, True), (errno.ECONNREFUSED, False), (errno.EHOSTUNREACH, False)):
        assert problem_of(aiohttp.ClientConnectorError(KEY, OSError(number, ""))).again is again


def test_every_status_has_a_cause_or_a_body() -> None:
    for status in range(100, 1000):
        problem = problem_of_status(status)
        assert (problem is None) == (200 <= status < 300 and status != 206)
        assert problem is None or problem.cause in get_args(Cause)
        assert problem is None or problem.again == (status == 429 or 500 <= status < 600)


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("https://me:pw@example.org/a?sig=x#y", "https://example.org/a?[redacted]"),  # secret-scan: allow
        ("http://[2001:db8::1]:81/a", "http://[2001:db8::1]:81/a"),
        ("https://example.org/hf_" + "a" * 30 + "/b", "https://example.org/[redacted]/b"),
    ],
)
def test_addresses_are_shown_without_secrets(url: str, text: str) -> None:
    assert shown(URL(url), Redactor({})) == text
