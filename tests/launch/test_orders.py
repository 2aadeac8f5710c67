"""Rank 0 decides, the others follow: over the real store, told of its end and of its failure, and never for ever."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable

import pytest

from trackyard.errors import EXIT_STOPPED_EARLY, CutOff, EnvironmentLacking, StoppedEarly, TrackyardError
from trackyard.launch import orders as module
from trackyard.launch.launched import Launched
from trackyard.launch.orders import End, Orders, Training, ended, leading, meet
from trackyard.launch.processes import free_port

TRAINING = Training(attempt=2, run_id="abc")


def _found(rank: int, port: int, **changes: int) -> Launched:
    return Launched(
        by="a test", rank=rank, world=2, local_rank=rank, local_world=2, host="127.0.0.1", port=port, **changes
    )


@pytest.fixture
def pair() -> tuple[Orders, Orders]:
    """Rank 0 and rank 1 of two, in this process."""
    port = free_port()
    return meet(_found(0, port)), meet(_found(1, port))


def _led(orders: Orders, block: Callable[[], None]) -> threading.Thread:
    def lead() -> None:
        with leading(orders):
            block()

    thread = threading.Thread(target=lead)
    thread.start()
    return thread


def test_orders_arrive_in_sequence_and_the_end_is_told(pair: tuple[Orders, Orders]) -> None:
    first, second = pair
    thread = _led(first, lambda: first.give(TRAINING))
    assert second.read() == TRAINING
    order = second.read()
    assert order == End()
    assert isinstance(order, End)
    ended(order)
    assert thread.is_alive(), "rank 0 holds the store until the others have left"
    second.leave()
    thread.join(10)
    assert not thread.is_alive()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize(
    ("error", "kind", "code"),
    [
        (TrackyardError(what="the run directory is in use", why="w", fix="f"), TrackyardError, 1),
        (EnvironmentLacking(what="no disk", why="w", fix="f"), TrackyardError, 3),
        (StoppedEarly(what="stopped by SIGTERM", why="w", fix="f"), StoppedEarly, EXIT_STOPPED_EARLY),
        (CutOff(what="stopped by SIGTERM", why="w", fix="f", number=signal.SIGTERM), TrackyardError, 143),
        (ZeroDivisionError("by zero"), TrackyardError, 1),
    ],
)
def test_the_others_end_with_the_code_of_rank_0(
    pair: tuple[Orders, Orders], error: Exception, kind: type[TrackyardError], code: int
) -> None:
    first, second = pair

    def fail() -> None:
        raise error

    thread = _led(first, fail)
    order = second.read()
    second.leave()
    thread.join(10)
    assert isinstance(order, End)
    with pytest.raises(kind) as raised:
        ended(order)
    assert raised.value.exit_code == code
    assert str(error.what if isinstance(error, TrackyardError) else "by zero") in raised.value.what


def test_rank_0_does_not_wait_for_ever_for_one_that_never_leaves(pair: tuple[Orders, Orders]) -> None:
    started = time.monotonic()
    pair[0].dismiss(None, wait_s=0.3)
    assert 0.3 <= time.monotonic() - started < 10


def test_silence_ends_the_waiting(pair: tuple[Orders, Orders], monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = pair
    with pytest.raises(TrackyardError, match=r"rank 0 has given no sign of life for 0\.4 s"):
        second.read(silence_s=0.4)
    # As long as it gives signs there is no limit.
    monkeypatch.setattr(module, "BEAT_S", 0.05)
    thread = _led(first, lambda: time.sleep(3.0))
    assert second.read(silence_s=2.0) == End()
    second.leave()
    thread.join(10)


def test_after_a_restart_old_orders_are_not_read(pair: tuple[Orders, Orders]) -> None:
    port = free_port()
    first, again = meet(_found(0, port)), meet(_found(1, port, restart=1))
    first.give(End(exit_code=1, what="the attempt before"))
    with pytest.raises(TrackyardError, match="no sign of life"):
        again.read(silence_s=0.3)


def _hold(port: int) -> None:
    orders = meet(_found(0, port))
    orders.give(TRAINING)
    time.sleep(60)


def test_a_killed_rank_0_is_noticed_at_once() -> None:
    port = free_port()
    holder = multiprocessing.get_context("fork").Process(target=_hold, args=(port,), daemon=True)
    holder.start()
    second = meet(_found(1, port))
    assert second.read() == TRAINING
    os.kill(holder.pid or 0, signal.SIGKILL)
    holder.join()
    started = time.monotonic()
    with pytest.raises(TrackyardError, match="the store of rank 0 does not answer"):
        second.read()
    assert time.monotonic() - started < 10
    second.leave()


def test_a_place_where_nobody_is_is_an_error() -> None:
    with pytest.raises(TrackyardError, match=r"cannot meet the others at 127\.0\.0\.1"):
        meet(_found(1, free_port()), join_s=1.0)
