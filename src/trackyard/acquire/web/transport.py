"""The session that every transfer goes through: guarded addresses, no cookies, no redirects or decompression of its
own, nothing taken from the environment."""

from __future__ import annotations

import aiohttp
from yarl import URL

from trackyard.acquire.web.addresses import AddressPolicy, GuardedResolver, Lookup, check_url, look_up
from trackyard.acquire.web.failures import Problem

IDLE_S = 1.0
"""Seconds that an unused connection is kept. Thousands of hosts are met once each, and a longer time would exhaust the
1,024 descriptors that a login node gives; requests to one host follow each other at once anyway."""


def open_session(
    policy: AddressPolicy, *, connect_s: float, stall_s: float, user_agent: str, lookup: Lookup = look_up
) -> aiohttp.ClientSession:
    """A session for requests with `allow_redirects=False`. connect_s: for a look-up and again for connecting.

    stall_s: without a byte. To be called inside an event loop; the caller closes it.
    """
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            resolver=GuardedResolver(policy, timeout_s=connect_s, lookup=lookup),
            limit=0,  # the caller counts, so that waiting for a place is not taken for a slow server
            keepalive_timeout=IDLE_S,
        ),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=connect_s, sock_read=stall_s),
        # Compressed bodies cost more than they save on images and archives, and hide their size.
        headers={"User-Agent": user_agent, "Accept-Encoding": "identity"},
        auto_decompress=False,
        trust_env=False,
    )


def plain_header(response: aiohttp.ClientResponse, name: str) -> str | None:
    """A header that will be written down or sent back; None if it is absent or not ASCII.

    aiohttp hands foreign bytes on as lone surrogates, which no file takes.
    """
    value = response.headers.get(name)
    return value if value is not None and value.isascii() else None


def redirect_target(response: aiohttp.ClientResponse, url: URL) -> URL | None:
    """Where a redirect of `url` leads, checked as any URL is (AddressRefused); None if the answer is no redirect.

    Problem for a redirect that names no place.
    """
    if not 300 <= response.status < 400:
        return None
    location = response.headers.get("Location")
    if response.status not in (301, 302, 303, 307, 308) or not location:
        raise Problem("redirects", f"HTTP {response.status} names no place to go to")
    # The joined text is parsed anew: join() keeps what check_url refuses.
    try:
        joined = str(url.join(URL(location)))
    except (ValueError, IndexError):
        raise Problem("bad_url", "the redirect leads to something that is not a URL") from None
    return check_url(joined)
