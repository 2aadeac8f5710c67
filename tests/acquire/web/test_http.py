"""The guarded client against a server that misbehaves: each fault of F14 and F15 ends with its cause, in time."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.loopback.hostile import HostileServer, Served, closed_port, deaf_port, raw, self_signed
from trackyard.acquire.web.addresses import AddressPolicy
from trackyard.acquire.web.http import Fetched, FetchFailure, FetchLimits, GuardedClient

LOOPBACK = AddressPolicy.parse(("127.0.0.0/8", "::1/128"))
CANARY = "hf_" + "C4nary0" * 5


def limits(**changes: object) -> FetchLimits:
    return FetchLimits.model_validate(
        {"connect_s": 1.2, "stall_s": 0.75, "total_s": 4.5, "backoff_s": 0.05, "max_bytes": 100_000} | changes
    )


@pytest.fixture(scope="module")
def shared() -> Iterator[HostileServer]:
    with HostileServer() as server:
        yield server


@pytest.fixture
def server(shared: HostileServer) -> HostileServer:
    shared.seen.clear()
    shared.counts.clear()
    shared.most_at_once = 0
    return shared


def get(url: str, policy: AddressPolicy = LOOPBACK, **changes: object) -> Fetched:
    async def ask() -> Fetched:
        async with GuardedClient(limits(**changes), policy) as client:
            return await client.get(url)

    return asyncio.run(ask())


def failure(url: str, policy: AddressPolicy = LOOPBACK, **changes: object) -> FetchFailure:
    with pytest.raises(FetchFailure) as raised:
        get(url, policy, **changes)
    return raised.value


def test_a_file_arrives_as_it_was_sent(server: HostileServer) -> None:
    server.files["a"] = Served(b"abc", etag='"tag"')
    found = get(server.url("/file/a"))
    assert found == Fetched(
        url=server.url("/file/a"),
        body=b"abc",
        content_type="image/jpeg",
        headers={"etag": '"tag"'},
        attempts=1,
    )
    assert server.seen[-1].headers["user-agent"].startswith("trackyard/")


@pytest.mark.parametrize(
    ("path", "cause", "attempts"),
    [
        ("/status/404", "http_404", 1),
        ("/status/403", "http_403", 1),
        ("/status/410", "http_410", 1),
        ("/status/401", "http_4xx", 1),
        ("/status/451", "http_4xx", 1),
        ("/status/429", "http_429", 3),
        ("/status/503", "http_5xx", 3),
        ("/status/206", "truncated", 1),
        ("/status/304", "redirects", 1),
        ("/status/999", "connection", 1),
        ("/hang", "read_timeout", 3),
        ("/hang-after-headers", "read_timeout", 3),
        ("/close", "connection", 3),
        ("/reset", "connection", 3),
        ("/reset?mid=1", "connection", 3),
        ("/loop", "redirects", 1),
        ("/redirect", "redirects", 1),
        ("/redirect?to=file:///etc/passwd", "bad_url", 1),
        ("/redirect?to=http://10.0.0.1/", "blocked_address", 1),
        ("/redirect?to=http://169.254.169.254/latest/meta-data", "blocked_address", 1),
        ("/redirect?to=//2130706433/", "blocked_address", 1),
        ("/redirect?to=http://u:p@127.0.0.1/", "bad_url", 1),  # secret-scan: allow
        ("/redirect?to=http://[::1", "bad_url", 1),
        ("/short", "truncated", 1),
        ("/gzip?cut=5", "truncated", 1),
        ("/brotli", "connection", 1),
        ("/bomb", "too_large", 1),
        ("/gzip?size=200000", "too_large", 1),
        ("/announced", "too_large", 1),
        ("/endless", "too_large", 1),
        ("/ok?size=100001", "too_large", 1),
        ("/robots?tag=noai", "opt_out", 1),
        ("/robots?tag=noindex,%20NoImageAI", "opt_out", 1),
        ("/robots?tag=somebot:%20noai", "opt_out", 1),
    ],
)
def test_each_fault_has_its_cause_in_time(server: HostileServer, path: str, cause: str, attempts: int) -> None:
    started = time.monotonic()
    found = failure(server.url(path))
    assert (found.cause, found.attempts) == (cause, attempts)
    assert time.monotonic() - started < 12


@pytest.mark.parametrize("path", ["/drip", "/drip-headers"])
def test_a_drip_ends_with_the_cap_of_its_url(server: HostileServer, path: str) -> None:
    """A byte now and then never stalls: only the cap on the whole ends it, and there is no time left to try again."""
    started = time.monotonic()
    found = failure(server.url(path), total_s=1.8)
    assert (found.cause, found.attempts) == ("read_timeout", 1)
    assert 1.75 < time.monotonic() - started < 4.8


def test_the_cap_holds_over_all_attempts(server: HostileServer) -> None:
    started = time.monotonic()
    found = failure(server.url("/hang"), total_s=1.5, retries=50, backoff_s=0.01)
    assert found.cause == "read_timeout"
    assert 2 <= found.attempts <= 4
    assert time.monotonic() - started < 4.8


@pytest.mark.parametrize(
    "path", ["/status/500?times=2", "/reset?times=2", "/reset?times=1&mid=1", "/status/429?times=2"]
)
def test_what_passes_is_tried_again(server: HostileServer, path: str) -> None:
    found = get(server.url(path))
    assert found.body == b"at last"
    assert 2 <= found.attempts <= len(server.seen), "aiohttp repeats a request itself where a connection just closes"


def test_without_retries_the_first_failure_is_the_last(server: HostileServer) -> None:
    """The control of the test above."""
    assert failure(server.url("/status/500?times=2"), retries=0).attempts == 1


def test_retry_after_is_waited_for(server: HostileServer) -> None:
    started = time.monotonic()
    assert get(server.url("/status/429?times=1&after=1")).attempts == 2
    assert time.monotonic() - started >= 1.0
    started = time.monotonic()
    assert get(server.url("/retry-date?in=2")).attempts == 2
    assert time.monotonic() - started >= 0.9, "an HTTP date has whole seconds"


def test_a_retry_after_beyond_the_cap_is_not_waited_for(server: HostileServer) -> None:
    started = time.monotonic()
    found = failure(server.url("/status/429?after=3600"))
    assert (found.cause, found.attempts) == ("http_429", 1)
    assert found.retry_after_s == pytest.approx(3600)
    assert time.monotonic() - started < 2.7


def test_the_whole_host_is_left_alone(server: HostileServer) -> None:
    async def ask() -> tuple[list[str], float]:
        async with GuardedClient(limits(), LOOPBACK) as client:
            first = asyncio.create_task(client.get(server.url("/status/429?times=1&after=3")))
            await asyncio.sleep(0.6)
            started = time.monotonic()
            await asyncio.gather(*(client.get(server.url(f"/ok?n={number}")) for number in range(8)))
            waited = time.monotonic() - started
            await first
            outcomes = []
            with pytest.raises(FetchFailure):
                await client.get(server.url("/status/503?after=600"))
            try:
                await client.get(server.url("/ok?n=9"))
            except FetchFailure as found:
                outcomes = [found.cause, str(found.attempts)]
            return outcomes, waited

    outcomes, waited = asyncio.run(ask())
    assert 1.8 < waited < 9, "a pause within the cap is waited out, and not counted against the others"
    assert outcomes == ["http_5xx", "0"], "during a longer pause the host is not asked at all"
    assert not any(seen.options.get("n") == "9" for seen in server.seen)


def test_at_most_so_many_at_one_host_and_in_all(server: HostileServer) -> None:
    async def ask(**changes: object) -> int:
        server.most_at_once = 0
        async with GuardedClient(limits(**changes), LOOPBACK) as client:
            await asyncio.gather(*(client.get(server.url(f"/ok?ms=60&n={number}")) for number in range(24)))
        return server.most_at_once

    assert asyncio.run(ask(per_host=4)) == 4
    assert asyncio.run(ask(per_host=24, in_flight=3)) == 3
    assert asyncio.run(ask(per_host=24)) > 12, "the control: the server allows more"


def test_a_busy_host_holds_no_place_of_others(server: HostileServer) -> None:
    """Forty URLs of a hanging host, in_flight 8: those of another host do not wait for them."""

    async def ask(other: HostileServer) -> float:
        async with GuardedClient(limits(in_flight=8, per_host=2, retries=0), LOOPBACK) as client:
            hanging = [asyncio.create_task(client.get(server.url(f"/hang?n={number}"))) for number in range(40)]
            await asyncio.sleep(0.05)
            started = time.monotonic()
            await asyncio.gather(*(client.get(other.url(f"/ok?n={number}")) for number in range(40)))
            waited = time.monotonic() - started
            for task in hanging:
                task.cancel()
            await asyncio.gather(*hanging, return_exceptions=True)
            return waited

    with HostileServer() as other:
        assert asyncio.run(ask(other)) < 4.5


def test_slow_requests_step_aside(server: HostileServer) -> None:
    """Eight that hang and eight places: the others wait until those are known to be slow, not until they end."""

    async def ask(slow_s: float) -> float:
        changes = {"in_flight": 8, "per_host": 100, "retries": 0, "stall_s": 3.0, "slow_s": slow_s}
        async with GuardedClient(limits(**changes), LOOPBACK) as client:
            hanging = [asyncio.create_task(client.get(server.url(f"/hang?n={number}"))) for number in range(8)]
            await asyncio.sleep(0.02)
            started = time.monotonic()
            await asyncio.gather(*(client.get(server.url(f"/ok?n={number}")) for number in range(40)))
            waited = time.monotonic() - started
            found = await asyncio.gather(*hanging, return_exceptions=True)
            assert {failed.cause for failed in found if isinstance(failed, FetchFailure)} == {"read_timeout"}
            return waited

    assert 0.3 < asyncio.run(ask(0.6)) < 2.4
    assert asyncio.run(ask(60.0)) > 2.7, "the control: without it they wait for the stall"


def test_redirects_are_followed_and_counted(server: HostileServer) -> None:
    hops = "/ok?size=3"
    for _ in range(3):
        hops = "/redirect?code=307&to=" + hops.replace("%", "%25").replace("&", "%26").replace("?", "%3F")
    found = get(server.url(hops))
    assert (found.url, found.body, found.attempts) == (server.url("/ok?size=3"), b"xxx", 1)
    assert failure(server.url(hops), max_redirects=2).cause == "redirects"


def test_the_rest_of_a_lying_answer_poisons_no_other(server: HostileServer) -> None:
    async def ask() -> list[bytes]:
        async with GuardedClient(limits(per_host=1), LOOPBACK) as client:
            return [
                (await client.get(server.url(path))).body for path in ("/long", "/ok?size=5", "/long", "/ok?size=7")
            ]

    assert asyncio.run(ask()) == [b"x" * 10, b"x" * 5, b"x" * 10, b"x" * 7]


def test_gzip_is_unpacked_within_the_limit(server: HostileServer) -> None:
    assert get(server.url("/gzip?size=1000")).body == b"a" * 500 + b"b" * 500
    assert len(get(server.url("/gzip?size=100000")).body) == 100_000


def test_a_page_instead_of_a_picture_is_left_to_the_decoder(server: HostileServer) -> None:
    found = get(server.url("/html"))
    assert found.content_type == "image/jpeg"
    assert found.body.startswith(b"<!doctype html>")


def test_what_is_kept_of_an_answer_can_be_written(server: HostileServer) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Type: image/\xffx\r\n"
    server.behaviours["/raw"] = raw(head + b"ETag: \xff\r\nLast-Modified: now\r\n\r\nx")
    found = get(server.url("/raw"))
    assert found.headers == {"last-modified": "now"}
    found.content_type.encode("utf-8")


def test_cookies_are_not_kept(server: HostileServer) -> None:
    async def ask() -> None:
        async with GuardedClient(limits(), LOOPBACK) as client:
            await client.get(server.url("/cookie"))
            await client.get(server.url("/cookie"))

    asyncio.run(ask())
    assert [seen.headers.get("cookie") for seen in server.seen] == [None, None]


def test_the_network_below(server: HostileServer, tmp_path: Path) -> None:
    found = failure(f"http://127.0.0.1:{closed_port()}/")
    assert (found.cause, found.attempts) == ("connection", 1), "a closed port is no reset"
    assert "ECONNREFUSED" in found.detail
    with deaf_port() as port:
        assert failure(f"http://127.0.0.1:{port}/", retries=1).cause == "connect_timeout"
    assert failure(server.url("/ok").replace("http:", "https:")).cause == "tls"
    with HostileServer(tls=self_signed(tmp_path)) as secure:
        found = failure(secure.url("/ok"))
    assert (found.cause, found.attempts) == ("tls", 1)
    assert "certificate verify failed" in found.detail


def test_ipv6_alone() -> None:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    with HostileServer(family=socket.AF_INET6) as server:
        assert get(server.url("/ok?size=1")).body == b"x"
        assert failure(server.url("/ok"), AddressPolicy()).cause == "blocked_address"


class Names:
    """A name service whose answers change: `answers` in order, the last for ever."""

    def __init__(self, *answers: str | OSError) -> None:
        self.answers = list(answers)
        self.asked = 0

    def __call__(self, _host: str, port: int) -> list[tuple[object, ...]]:
        self.asked += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, OSError):
            raise answer
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (answer, port))]


def ask_by_name(names: Names, url: str, policy: AddressPolicy, times: int = 1) -> list[str]:
    async def ask() -> list[str]:
        outcomes = []
        async with GuardedClient(limits(), policy, lookup=names) as client:
            for _ in range(times):
                try:
                    outcomes.append((await client.get(url)).body.decode())
                except FetchFailure as found:
                    outcomes.append(found.cause)
        return outcomes

    return asyncio.run(ask())


def test_an_unknown_host_is_not_tried_again() -> None:
    names = Names(socket.gaierror(socket.EAI_NONAME, "Name or service not known"))
    assert ask_by_name(names, "http://nowhere.example/", LOOPBACK) == ["dns"]
    assert names.asked == 1


def test_a_long_label_is_a_name_without_an_address() -> None:
    assert failure(f"http://{'a' * 70}.example/").cause == "dns"


@pytest.mark.parametrize("ip", ["127.0.0.1", "169.254.169.254", "10.0.0.1", "::1", "::ffff:127.0.0.1"])
def test_a_public_name_with_a_private_address_is_refused(ip: str) -> None:
    assert ask_by_name(Names(ip), "http://cats.example/", AddressPolicy()) == ["blocked_address"]


def test_rebinding_reaches_only_what_was_checked(server: HostileServer) -> None:
    """The first answer is permitted, the second is not: it is never asked for while the first connects."""
    names = Names("127.0.0.1", "127.0.0.2", "10.0.0.1")
    policy = AddressPolicy.parse(("127.0.0.1/32",))
    assert ask_by_name(names, f"http://cats.example:{server.port}/ok?size=2", policy) == ["xx"]
    assert names.asked == 1
    names = Names("10.0.0.1", "127.0.0.1")
    assert ask_by_name(names, f"http://cats.example:{server.port}/ok?size=2", policy) == ["blocked_address"]
    assert names.asked == 1


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "2130706433", "0x7f.1", "[::ffff:127.0.0.1]"])
def test_private_literals_are_refused_before_a_connection(server: HostileServer, host: str) -> None:
    found = failure(f"http://{host}:{server.port}/ok", AddressPolicy())
    assert (found.cause, found.attempts) == ("blocked_address", 0)
    assert server.seen == []


@pytest.mark.parametrize(
    "path",
    [
        f"/status/404?token={CANARY}",
        f"/status/404/{CANARY}",
        f"/status/503?anything={CANARY}",
        f"/redirect?to=http://u:{CANARY}@127.0.0.1/",
        f"/redirect?to=http://10.0.0.1/{CANARY}",
        f"/redirect?to=http://[{CANARY}",
        f"/short?x={CANARY}",
        f"/hang?x={CANARY}",
        f"/loop?x={CANARY}",
        f"/bomb?x={CANARY}#{CANARY}",
    ],
)
def test_no_secret_in_any_failure(server: HostileServer, path: str) -> None:
    for url in (server.url(path), server.url(path).replace("://", f"://me:{CANARY}@")):
        found = failure(url)
        assert CANARY not in "".join(traceback.format_exception(found)) + repr(found) + found.detail


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 2**32 - 1))
def test_any_answer_is_a_file_or_a_failure(shared: HostileServer, seed: int) -> None:
    """Random damage to an honest answer: no other exception escapes the client."""
    honest = bytearray(
        random.Random(seed).choice(
            [
                b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Type: image/png; charset=x\r\n\r\nhello",
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
                b"HTTP/1.1 302 Found\r\nLocation: /ok\r\nContent-Length: 0\r\n\r\n",
                b"HTTP/1.0 200 OK\r\nContent-Encoding: gzip\r\n\r\n\x1f\x8b\x08",
                b"HTTP/1.1 429 No\r\nRetry-After: Wed, 21 Oct 2015 07:28:00 GMT\r\nContent-Length: 0\r\n\r\n",
            ]
        )
    )
    rng = random.Random(seed)
    for _ in range(rng.randint(0, 4)):
        position = rng.randrange(len(honest))
        honest[position : position + rng.randint(0, 2)] = rng.randbytes(rng.randint(0, 3))
    shared.behaviours["/raw"] = raw(bytes(honest))
    with contextlib.suppress(FetchFailure):
        repr(get(shared.url("/raw"), retries=0, connect_s=0.3, stall_s=0.1, total_s=0.3)).encode("utf-8")


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=20), st.text(alphabet="a.-_:[]%@é0x", max_size=20))
def test_any_url_of_a_data_set_is_a_failure_at_worst(path: str, host: str) -> None:
    names = Names(socket.gaierror(socket.EAI_NONAME, "Name or service not known"))
    for url in (path, f"http://{host}/{path}", f"https://{host}{path}"):
        assert set(ask_by_name(names, url, AddressPolicy())) <= {"bad_url", "blocked_address", "dns"}


def test_limits_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(ValueError, match=r"connect_s=5\.0 exceeds total_s=1\.0"):
        FetchLimits(total_s=1)
