"""Addresses: every private range in every disguise is refused (F15), and a second DNS answer changes nothing."""

from __future__ import annotations

import asyncio
import socket
import threading
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackyard.acquire.web.addresses import (
    AddressPolicy,
    AddressRefused,
    GuardedResolver,
    check_literal,
    check_url,
)
from trackyard.errors import ConfigError

PUBLIC = AddressPolicy()
LOOPBACK = AddressPolicy.parse(("127.0.0.0/8", "::1/128"))

PRIVATE = [
    "0.0.0.0", "10.0.0.1", "100.64.0.1", "100.127.255.255", "127.0.0.1", "127.255.0.9", "169.254.169.254",
    "172.16.0.1", "172.31.255.255", "192.0.0.1", "192.0.2.1", "192.168.1.1", "198.18.0.1", "198.51.100.7",
    "203.0.113.1", "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255",
]  # fmt: skip


@pytest.mark.parametrize("ip", PRIVATE)
def test_private_addresses_are_refused_in_every_form(ip: str) -> None:
    number = int(IPv4Address(ip))
    forms = [
        ip,
        f"::ffff:{ip}",
        f"::{ip}",
        f"64:ff9b::{ip}",
        f"2002:{number >> 16:x}:{number & 0xFFFF:x}::1",
    ]
    assert [form for form in forms if PUBLIC.permits(form)] == []


@pytest.mark.parametrize(
    "ip",
    [
        "::", "::1", "fe80::1", "fe80::1%lo", "fc00::1", "fd12:3456::1", "fec0::1", "ff02::1", "2001:db8::1", "2001::1",
        "3fff::1", "64:ff9b:1::1", "100::1", "5f00::1", "::ffff:0:127.0.0.1", "2606:4700::1111%eth0",
    ],
)  # fmt: skip
def test_special_ipv6_addresses_are_refused(ip: str) -> None:
    assert not PUBLIC.permits(ip)


@pytest.mark.parametrize(
    "ip",
    [
        "8.8.8.8", "1.1.1.1", "100.63.255.255", "100.128.0.0", "172.15.255.255", "172.32.0.0", "169.253.0.1",
        "11.0.0.0", "223.255.255.255", "2606:4700:4700::1111", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "2002:808:808::1",
    ],
)  # fmt: skip
def test_public_addresses_are_permitted(ip: str) -> None:
    """The control: a policy that refuses everything would pass the tests above."""
    assert PUBLIC.permits(ip)


@pytest.mark.parametrize("text", ["", "localhost", "127.1", "0177.0.0.1", "2130706433", "0x7f.0.0.1", "1.2.3.4.5", "a"])
def test_what_is_no_address_is_not_permitted(text: str) -> None:
    assert not LOOPBACK.permits(text)


@given(st.integers(0, 2**32 - 1))
def test_what_ipaddress_calls_private_is_never_permitted(number: int) -> None:
    address = IPv4Address(number)
    if address.is_private or address.is_multicast or address.is_reserved or address.is_loopback:
        assert not PUBLIC.permits(str(address))
        assert not PUBLIC.permits(f"::ffff:{address}")


@given(st.integers(0, 2**128 - 1))
def test_no_ipv6_address_outside_global_unicast_is_permitted(number: int) -> None:
    address = IPv6Address(number)
    if address.ipv4_mapped is None and number >> 125 != 1 and number >> 32 != 0x64FF9B << 64:
        assert not PUBLIC.permits(str(address))


def test_an_allow_list_opens_its_networks_only() -> None:
    assert LOOPBACK.permits("127.0.0.1")
    assert LOOPBACK.permits("::1")
    assert LOOPBACK.permits("::ffff:127.0.0.1"), "the same address"
    assert not LOOPBACK.permits("10.0.0.1")
    assert not LOOPBACK.permits("169.254.169.254")
    with pytest.raises(ConfigError, match="host bits set"):
        AddressPolicy.parse(("10.0.0.1/8",))


@pytest.mark.parametrize(
    ("url", "cause"),
    [
        ("file:///etc/passwd", "bad_url"),
        ("ftp://example.org/a", "bad_url"),
        ("data:text/plain,a", "bad_url"),
        ("gopher://example.org/", "bad_url"),
        ("//example.org/a", "bad_url"),
        ("example.org/a", "bad_url"),
        ("", "bad_url"),
        ("http://", "bad_url"),
        ("http:///a", "bad_url"),
        ("http://example.org:99999/", "bad_url"),
        ("http://example.org:0/", "bad_url"),
        ("http://[::1/", "bad_url"),
        ("http://user:canary-secret@example.org/", "bad_url"),  # secret-scan: allow
        ("http://canary-secret@example.org/", "bad_url"),
        ("http://2130706433/", "blocked_address"),
        ("http://0x7f000001/", "blocked_address"),
        ("http://0x7f.1/", "blocked_address"),
        ("http://017700000001/", "blocked_address"),
        ("http://0177.0.0.1/", "blocked_address"),
        ("http://127.1/", "blocked_address"),
        ("http://127.0.0.1./", "blocked_address"),
        ("http://1.2.3.256/", "blocked_address"),
    ],
)
def test_urls_are_refused_with_a_cause_and_without_their_secret(url: str, cause: str) -> None:
    with pytest.raises(AddressRefused) as raised:
        check_url(url)
    assert raised.value.cause == cause
    assert "canary-secret" not in str(raised.value)


@pytest.mark.parametrize(
    "url", ["http://example.org", "HTTPS://Example.ORG:8443/a?b=c#d", "http://1.2.3.4/", "http://b0x.de/"]
)
def test_ordinary_urls_pass(url: str) -> None:
    assert check_url(url).raw_host in ("example.org", "1.2.3.4", "b0x.de")


@given(st.text(max_size=40) | st.text(max_size=30).map("http://".__add__))
def test_any_text_is_a_url_or_refused(text: str) -> None:
    """No other exception escapes, whatever a data set holds."""
    try:
        url = check_url(text)
    except AddressRefused:
        return
    assert url.scheme in ("http", "https")
    assert url.raw_host


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "169.254.169.254", "10.1.2.3", "[::1]", "[::ffff:127.0.0.1]", "[fe80::1]"]
)
def test_address_literals_are_checked(host: str) -> None:
    with pytest.raises(AddressRefused, match="not a public address"):
        check_literal(check_url(f"http://{host}/"), PUBLIC)
    check_literal(check_url("http://example.org/"), PUBLIC)
    check_literal(check_url("http://9.9.9.9/"), PUBLIC)


def rows(*ips: str) -> list[tuple[socket.AddressFamily, int, int, str, tuple[str, int]]]:
    family = {ip: socket.AF_INET6 if ":" in ip else socket.AF_INET for ip in ips}
    return [(family[ip], socket.SOCK_STREAM, 6, "", (ip, 80)) for ip in ips]


def resolve(lookup: object, policy: AddressPolicy = PUBLIC, timeout_s: float = 1.0) -> list[str]:
    async def ask() -> list[str]:
        resolver = GuardedResolver(policy, timeout_s=timeout_s, lookup=lookup)  # type: ignore[arg-type]
        try:
            return [row["host"] for row in await resolver.resolve("name.example", 80)]
        finally:
            await resolver.close()

    return asyncio.run(ask())


def test_a_name_is_looked_up_once_and_private_answers_are_dropped() -> None:
    asked: list[str] = []

    def lookup(host: str, _port: int) -> list[object]:
        asked.append(host)
        return list(rows("10.0.0.1", "9.9.9.9", "::1", "2606:4700::1"))

    assert resolve(lookup) == ["9.9.9.9", "2606:4700::1"]
    assert asked == ["name.example"]


def test_a_look_up_of_ones_own_may_know_another_port() -> None:
    async def ask() -> list[tuple[str, int]]:
        resolver = GuardedResolver(PUBLIC, timeout_s=1.0, lookup=lambda host, port: rows("9.9.9.9"))
        try:
            return [(row["host"], row["port"]) for row in await resolver.resolve("name.example", 8080)]
        finally:
            await resolver.close()

    assert asyncio.run(ask()) == [("9.9.9.9", 80)]


@pytest.mark.parametrize("url", ["http://[]@/", "http://[redacted]@/cat.jpg"])
def test_a_url_that_its_parser_stumbles_over_is_no_url(url: str) -> None:
    with pytest.raises(AddressRefused) as raised:
        check_url(url)
    assert raised.value.cause == "bad_url"


def test_a_name_with_private_answers_only_is_refused() -> None:
    with pytest.raises(AddressRefused, match=r"name\.example leads to 169\.254\.169\.254") as raised:
        resolve(lambda host, port: rows("169.254.169.254", "10.0.0.1"))
    assert raised.value.cause == "blocked_address"


def test_a_slow_name_server_is_not_waited_for() -> None:
    release = threading.Event()

    def lookup(_host: str, _port: int) -> list[object]:
        release.wait(5)
        return list(rows("9.9.9.9"))

    try:
        with pytest.raises(OSError, match=r"no answer about name\.example within 0\.05 s"):
            resolve(lookup, timeout_s=0.05)
    finally:
        release.set()


def test_names_that_cannot_be_looked_up_are_errors_of_the_name() -> None:
    def broken(_host: str, _port: int) -> list[object]:
        raise UnicodeError("label empty or too long")  # as the idna codec does for labels over 63 characters

    with pytest.raises(OSError, match="is not a name that can be looked up"):
        resolve(broken)
    with pytest.raises(OSError, match="has no address"):
        resolve(lambda host, port: [])
