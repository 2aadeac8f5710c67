"""The flow with a client and workers that do as they are told: order, stragglers, and bytes that are held."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from itertools import pairwise
from pathlib import Path

import pytest

from trackyard.acquire.images.check import Kept
from trackyard.acquire.images.flow import Flow, FlowLimits
from trackyard.acquire.images.markers import Marker, Part, PartFile
from trackyard.acquire.images.pinned_list import UrlRow
from trackyard.acquire.images.shards import Outcome, Spill, Work
from trackyard.acquire.web.http import Fetched, FetchFailure

SIZE = 4


class Client:
    def __init__(self, behave: Callable[[int], Awaitable[bytes]]) -> None:
        self._behave = behave

    async def get(self, url: str) -> Fetched:
        body = await self._behave(int(url))
        return Fetched(url=url, body=body, content_type="image/jpeg", headers={}, attempts=1)


class Workers:
    def __init__(self, behave: Callable[[bytes], Awaitable[None]]) -> None:
        self._behave = behave

    async def start(self) -> None:
        await asyncio.sleep(0)

    async def check(self, data: bytes, url: str, *, sha256: bytes | None, faces: object) -> Kept:
        await self._behave(data)
        return Kept(sha256=bytes(32), blake3=bytes(32), width=1, height=1, data=None)


async def at_once(_: object) -> None:
    await asyncio.sleep(0)


def works(shards: int) -> list[Work]:
    return [
        Work(
            part=Part(shard),
            first_row=shard * SIZE,
            end_row=(shard + 1) * SIZE,
            rows=tuple(UrlRow(str(shard * SIZE + row)) for row in range(SIZE)),
            before={},
        )
        for shard in range(shards)
    ]


class Written:
    """Takes the place of the writer, and reads back what was spilled."""

    def __init__(self) -> None:
        self.shards: list[int] = []
        self.bodies: list[bytes | None] = []

    def __call__(self, work: Work, outcomes: list[Outcome], spill: Spill) -> Marker:
        assert [outcome.url for outcome in outcomes] == [row.url for row in work.rows]
        self.shards.append(work.part.shard)
        self.bodies += [spill.read(outcome.image) if outcome.image else None for outcome in outcomes]
        ok = sum(outcome.outcome == "ok" for outcome in outcomes)
        file = PartFile(path="", bytes=0, blake3="")
        return Marker(
            part=work.part, first_row=work.first_row, end_row=work.end_row, attempted=SIZE, inputs="",
            counts={"ok": ok, "dns": SIZE - ok}, shard_counts={}, images=file, outcomes=file,
        )  # fmt: skip


def run(
    directory: Path,
    get: Callable[[int], Awaitable[bytes]],
    *,
    shards: int,
    check: Callable[[bytes], Awaitable[None]] = at_once,
    on_change: Callable[[Flow], None] = lambda _: None,
    tasks: int = 100,
    held_bytes: int = 10**9,
    ahead: int = 16,
) -> Written:
    written = Written()
    limits = FlowLimits(tasks=tasks, held_bytes=held_bytes, ahead=ahead)
    flow = Flow(directory, Client(get), Workers(check), limits, write=written, on_change=on_change)  # type: ignore[arg-type]
    asyncio.run(asyncio.wait_for(flow.run(works(shards)), 20))
    assert flow.done == shards * SIZE
    assert sum(flow.counts.values()) == shards * SIZE
    assert not list(directory.iterdir())
    return written


def test_bodies_come_back_in_the_order_of_the_list(tmp_path: Path) -> None:
    async def get(number: int) -> bytes:
        await asyncio.sleep((number * 7919 % 13) / 1000)
        if number % 5 == 0:
            raise FetchFailure("dns", "no such name", attempts=1)
        return b"%d" % number * (number + 1)

    written = run(tmp_path, get, shards=8)
    assert written.shards == list(range(8))
    assert written.bodies == [b"%d" % number * (number + 1) if number % 5 else None for number in range(32)]


def test_a_straggler_stops_neither_downloads_nor_loses_its_turn(tmp_path: Path) -> None:
    last_was_asked = asyncio.Event()

    async def get(number: int) -> bytes:
        if number == 31:
            last_was_asked.set()
        if number == 0:
            await last_was_asked.wait()
        return b"x"

    assert run(tmp_path, get, shards=8).shards == list(range(8))


def test_shards_under_way_are_limited(tmp_path: Path) -> None:
    most = 0
    release = asyncio.Event()

    async def get(number: int) -> bytes:
        nonlocal most
        most = max(most, number // SIZE)
        if number == 0:
            await asyncio.wait_for(release.wait(), 0.1) if not release.is_set() else None
        return b"x"

    with pytest.raises(ExceptionGroup):  # row 0 gives up, and nothing beyond the third shard has been asked for
        run(tmp_path, get, shards=8, ahead=3)
    assert most == 2


@pytest.mark.parametrize("held_bytes", [5_000_000, 20_000_000])
def test_bytes_that_are_held_stay_within_their_limit(tmp_path: Path, held_bytes: int) -> None:
    """Large bodies and slow workers: once the size is known, no more are asked for than may be held."""
    under_way, seen, one_worker = 0, [], asyncio.Lock()

    async def get(number: int) -> bytes:
        nonlocal under_way
        under_way += 1
        await asyncio.sleep(0.001)
        return bytes(1_000_000)

    async def check(data: bytes) -> None:
        nonlocal under_way
        seen.append(under_way)
        async with one_worker:
            await asyncio.sleep(0.002)
        under_way -= 1

    run(tmp_path, get, shards=60, check=check, held_bytes=held_bytes)
    assert max(seen[100:]) * 1_000_000 <= held_bytes + 1_000_000
    assert max(seen[100:]) >= held_bytes // 2_000_000  # the limit is used, too


def test_counts_grow_in_the_order_of_the_list(tmp_path: Path) -> None:
    """Failures come at once and images late; a count of what has come would begin with nothing but failures."""
    shares: list[float] = []

    async def get(number: int) -> bytes:
        if number % 2:
            raise FetchFailure("dns", "no such name", attempts=1)
        await asyncio.sleep(0.02)
        return b"x"

    def on_change(flow: Flow) -> None:
        total = sum(flow.counts.values())
        if total:
            shares.append(flow.counts["ok"] / total)

    run(tmp_path, get, shards=10, on_change=on_change, tasks=20)
    assert min(shares) >= 0.5
    assert all(abs(later - earlier) <= 0.5 for earlier, later in pairwise(shares))


def test_what_on_change_raises_stops_the_flow(tmp_path: Path) -> None:
    async def get(number: int) -> bytes:
        await asyncio.sleep(0.001)
        return b"x"

    def on_change(flow: Flow) -> None:
        if flow.done > 5:
            raise ArithmeticError

    with pytest.raises(ExceptionGroup) as caught:
        run(tmp_path, get, shards=50, on_change=on_change, tasks=4)
    assert caught.value.subgroup(ArithmeticError) is not None
