"""Which addresses data may be fetched from: public ones, checked where the connection is made.

A URL inside a data set is written by strangers, and this machine can reach what they cannot (cloud metadata, services
of the cluster). A name is resolved once, its addresses are filtered, and one of those is connected to: an answer that
changes afterwards changes nothing. Source: reliability section 6 (SSRF), F15.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import Any, Literal

from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from trackyard.errors import ConfigError

LOOKUPS = 64
"""Names looked up at once; a dead name server holds a thread for seconds, and others must not wait behind it."""

# Own tables, because those of `ipaddress` change with the patch release of Python.
# Source: IANA special-purpose address registries, RFC 6890; everything above 224.0.0.0 is multicast or reserved.
_SPECIAL_4 = tuple(
    IPv4Network(text)
    for text in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
        "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24",
        "224.0.0.0/3",
    )
)  # fmt: skip
_UNICAST_6 = IPv6Network("2000::/3")
"""The only IPv6 range that IANA has given out for global unicast."""
_SPECIAL_6 = tuple(IPv6Network(text) for text in ("2001::/23", "2001:db8::/32", "3fff::/20"))
_MAPPED = IPv6Network("::ffff:0:0/96")
_NAT64 = IPv6Network("64:ff9b::/96")
_6TO4 = IPv6Network("2002::/16")

Lookup = Callable[[str, int], Sequence[tuple[Any, ...]]]
"""(host, port) -> rows as `socket.getaddrinfo` gives them; OSError or UnicodeError for a name that has no address."""


class AddressRefused(Exception):
    """A URL or an address that is not connected to. detail: names the host, never user, password or query."""

    def __init__(self, cause: Literal["bad_url", "blocked_address"], detail: str) -> None:
        super().__init__(detail)
        self.cause: Literal["bad_url", "blocked_address"] = cause
        self.detail = detail


@dataclass(frozen=True, slots=True)
class AddressPolicy:
    """Global unicast addresses are permitted, and those in `allowed`."""

    allowed: tuple[IPv4Network | IPv6Network, ...] = ()

    @classmethod
    def parse(cls, networks: Sequence[str]) -> AddressPolicy:
        """Policy of an allow-list such as ("127.0.0.0/8",); ConfigError names what is not a network."""
        try:
            return cls(allowed=tuple(ip_network(text) for text in networks))
        except ValueError as error:
            raise ConfigError(
                what=f"allowed networks {list(networks)}: {error}",
                why="fetching from private addresses is opened network by network",
                fix='write networks as "10.1.0.0/16" or "127.0.0.1/32"',
            ) from error

    def permits(self, ip: str) -> bool:
        """Whether this address may be connected to. What is no address, or carries a scope, is not."""
        try:
            address: IPv4Address | IPv6Address = ip_address(ip)
        except ValueError:
            return False
        if isinstance(address, IPv6Address):
            if address.scope_id is not None:
                return False
            if any(address in network for network in self.allowed if network.version == 6):
                return True
            carried = _carried(address)
            if carried is None:
                return address in _UNICAST_6 and not any(address in network for network in _SPECIAL_6)
            address = carried
        return any(address in network for network in self.allowed if network.version == 4) or not any(
            address in network for network in _SPECIAL_4
        )


def _carried(address: IPv6Address) -> IPv4Address | None:
    """The IPv4 address that a mapped, NAT64 or 6to4 address leads to."""
    if address in _MAPPED or address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    if address in _6TO4:
        return IPv4Address((int(address) >> 80) & 0xFFFFFFFF)
    return None


def check_url(url: str) -> URL:
    """Parse `url` as the connection will; AddressRefused unless it is http(s) with a host and without credentials.

    Returns the parsed URL: whoever connects uses it, so that no second parser reads another host out of the text.
    """
    try:
        parsed = URL(url)
        host, port = parsed.raw_host, parsed.port
    except (ValueError, IndexError) as error:
        # yarl reads past the end of "http://[]@/". The text of the error may repeat the URL.
        raise AddressRefused("bad_url", f"not a URL ({type(error).__name__}, {len(url)} characters)") from None
    if parsed.scheme not in ("http", "https"):
        raise AddressRefused("bad_url", f"scheme {parsed.scheme[:20]!r} is not http or https")
    if not host or port == 0:
        raise AddressRefused("bad_url", "the URL names no host that can be connected to")
    if parsed.raw_user is not None or parsed.raw_password is not None:
        raise AddressRefused("bad_url", f"the URL of host {host} carries a user name or password")
    _refuse_odd_number(host)
    return parsed


def _refuse_odd_number(host: str) -> None:
    """Refuse 2130706433, 0x7f.1 and 0177.0.0.1: what the C library reads as numbers is an address in disguise."""
    last = host.rstrip(".").rpartition(".")[2].lower()
    numeric = last.isdigit() or (last.startswith("0x") and all(letter in "0123456789abcdef" for letter in last[2:]))
    if numeric and ":" not in host:
        try:
            IPv4Address(host)
        except ValueError:
            raise AddressRefused("blocked_address", f"{host} is an address in a disguised notation") from None


def check_literal(url: URL, policy: AddressPolicy) -> None:
    """AddressRefused if the host is an address, not a name, and not permitted. aiohttp resolves no literals, so the
    resolver below never sees them."""
    host = url.raw_host or ""
    try:
        ip_address(host)
    except ValueError:
        return
    if not policy.permits(host):
        raise AddressRefused("blocked_address", f"{host} is not a public address")


def look_up(host: str, port: int) -> Sequence[tuple[Any, ...]]:
    """The name service of this machine."""
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)


class GuardedResolver(AbstractResolver):
    """Resolves a name once and hands on only the addresses that the policy permits, as numbers."""

    def __init__(self, policy: AddressPolicy, *, timeout_s: float, lookup: Lookup = look_up) -> None:
        """timeout_s: for one look-up. lookup: how names are resolved; blocking, called in a thread."""
        self._policy = policy
        self._timeout_s = timeout_s
        self._lookup = lookup
        self._threads = ThreadPoolExecutor(LOOKUPS, thread_name_prefix="lookup")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Permitted addresses of `host`; AddressRefused if it has only others, OSError if it has none."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._timeout_s):
                rows = await loop.run_in_executor(self._threads, self._lookup, host, port)
        except TimeoutError:
            # A TimeoutError would be taken for a slow connection; this is a slow name server.
            raise OSError(f"no answer about {host} within {self._timeout_s:g} s") from None
        except UnicodeError:
            raise OSError(f"{host} is not a name that can be looked up") from None
        found = [
            ResolveResult(
                hostname=host,
                host=str(row[4][0]),
                # A look-up that knows a name of its own may know another port for it.
                port=int(row[4][1]),
                family=row[0],
                proto=row[2],
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for row in rows
            if family in (socket.AF_UNSPEC, row[0])
        ]
        permitted = [row for row in found if self._policy.permits(row["host"])]
        if found and not permitted:
            raise AddressRefused("blocked_address", f"{host} leads to {found[0]['host']}, which is not public")
        if not permitted:
            raise OSError(f"{host} has no address")
        return permitted

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
