"""Workers: the same answers as in this process, and a limit on their memory."""

from __future__ import annotations

import asyncio
import io
import os
import socket

import pytest
from PIL import Image

from tests.loopback.images import jpeg
from trackyard.acquire.images.check import ImageRules, Kept, Refused, check_image
from trackyard.acquire.images.workers import NICENESS, ImageWorkers
from trackyard.errors import TrackyardError

RULES = ImageRules(max_side=100, min_side=32, max_aspect=8.0, max_pixels=50_000_000)


def answers(bodies: list[bytes], *, workers: int, memory_bytes: int = 10**9) -> list[Kept | Refused]:
    async def ask() -> list[Kept | Refused]:
        async with ImageWorkers(RULES, workers=workers, memory_bytes=memory_bytes) as pool:
            await pool.start()
            return await asyncio.gather(*(pool.check(body, "http://x/", sha256=None) for body in bodies))

    return asyncio.run(ask())


def test_answers_belong_to_their_questions() -> None:
    bodies = [jpeg(number, 40 + number * 4, 40) if number % 3 else bytes(number) for number in range(60)]
    assert answers(bodies, workers=2) == [check_image(body, RULES, sha256=None) for body in bodies]


def test_an_image_that_needs_too_much_memory_is_an_outcome_and_the_worker_lives() -> None:
    stream = io.BytesIO()
    Image.new("L", (7000, 7000)).save(stream, "PNG", compress_level=1)
    big, good = stream.getvalue(), jpeg(1)
    enough = answers([big, good], workers=1)
    assert [type(found) for found in enough] == [Kept, Kept]
    tight = answers([big, good], workers=1, memory_bytes=30_000_000)
    assert isinstance(tight[0], Refused)
    assert tight[0].cause == "decode_error"
    assert "MemoryError" in tight[0].detail
    assert tight[1] == enough[1]


def test_a_worker_that_has_died_in_the_meantime_is_told() -> None:
    async def ask() -> None:
        async with ImageWorkers(RULES, workers=1, memory_bytes=10**9) as pool:
            await pool.start()
            await pool.check(jpeg(1), "http://x/1", sha256=None)
            worker = pool._workers[0]
            worker.process.kill()
            await worker.listening
            for number in (2, 3, 4):
                with pytest.raises(TrackyardError, match=f"internal_error at http://x/{number}\n.*exit code -9"):
                    await pool.check(jpeg(number), f"http://x/{number}", sha256=None)

    asyncio.run(asyncio.wait_for(ask(), 20))


def test_the_event_loop_comes_before_its_workers() -> None:
    async def ask() -> list[int]:
        async with ImageWorkers(RULES, workers=2, memory_bytes=10**9) as pool:
            await pool.start()
            await asyncio.gather(*(pool.check(jpeg(number), "http://x/", sha256=None) for number in range(8)))
            return [os.getpriority(os.PRIO_PROCESS, worker.process.pid or 0) for worker in pool._workers]

    own = os.getpriority(os.PRIO_PROCESS, 0)
    assert asyncio.run(ask()) == [min(19, own + NICENESS)] * 2


@pytest.mark.parametrize("said", [b"{", b"[]", b"{}", b'{"sha256": "zz", "cause": "dns", "detail": ""}'])
def test_an_answer_that_is_none_ends_the_run(said: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    from trackyard.acquire.images import workers as image_workers

    monkeypatch.setattr(image_workers, "_work", _Talks(said))
    with pytest.raises(TrackyardError, match="an answer that is none"):
        answers([jpeg(1)], workers=1)


class _Talks:
    """A worker that says one thing, whatever it is asked."""

    def __init__(self, said: bytes) -> None:
        self._said = said

    def __call__(self, theirs: socket.socket, *_: object) -> None:
        theirs.recv(1)
        theirs.sendall(len(self._said).to_bytes(4, "little") + bytes(4) + self._said)
        theirs.recv(1 << 20)
