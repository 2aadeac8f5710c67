"""The first stop signal is noted or raised; later ones change nothing, and without one nothing has changed."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from trackyard.errors import ConfigError, EnvironmentLacking, TrackyardError
from trackyard.launch.signals import (
    JOB_END,
    LEAD_S,
    STOP_SIGNALS,
    TIME_IS_UP,
    cause,
    deadline,
    stop_error,
    stop_flag,
    stop_interrupt,
    stopping_at,
)


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    """The test process keeps its own handlers."""
    earlier = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    yield
    for number, handler in earlier.items():
        signal.signal(number, handler)


def _send(*numbers: signal.Signals) -> None:
    for number in numbers:
        os.kill(os.getpid(), number)


def _handled() -> list[object]:
    return [signal.getsignal(number) for number in STOP_SIGNALS]


def _error(name: str) -> TrackyardError:
    return TrackyardError(what=f"stopped by {name}", why="a test", fix="none")


@pytest.mark.parametrize("first", STOP_SIGNALS)
def test_the_flag_names_the_first_of_many_signals(first: signal.Signals) -> None:
    with stop_flag() as stopped:
        assert not stopped()
        _send(first, *STOP_SIGNALS, *STOP_SIGNALS)
        assert stopped()
        assert stopped.name == first.name
        assert stopped.received == {number.name for number in STOP_SIGNALS}
    _send(*STOP_SIGNALS)  # a process that was asked to stop is not killed while it ends


def test_without_a_signal_the_earlier_handlers_come_back() -> None:
    before = _handled()
    with stop_error(_error), stop_flag() as stopped:
        assert _handled() != before
    assert _handled() == before
    assert not stopped()


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_outside_a_flag_the_error_is_raised_once(number: signal.Signals) -> None:
    passed = []

    def block() -> None:
        with stop_error(_error):
            _send(number)
            passed.append("the end of the block")

    with pytest.raises(TrackyardError, match=f"stopped by {number.name}"):
        block()
    assert passed == []
    _send(*STOP_SIGNALS)


def test_a_library_that_catches_every_exception_does_not_take_a_stop_for_its_own_failure() -> None:
    def library(failure: type[BaseException] | None) -> None:
        try:
            if failure is None:
                _send(signal.SIGTERM)
            else:
                raise failure("stopped by SIGTERM")
        except Exception as error:
            raise OSError("the model cannot be found") from error

    with pytest.raises(OSError, match="cannot be found"):  # what such code makes of an ordinary error
        library(TypeError)

    def block() -> None:
        with stop_error(_error):
            library(None)

    with pytest.raises(TrackyardError, match="stopped by SIGTERM"):
        block()


def test_a_flag_inside_is_not_cut_and_the_error_context_stays_quiet_after_it() -> None:
    with stop_error(_error):
        with stop_flag() as stopped:
            _send(signal.SIGTERM)
        assert stopped.name == "SIGTERM"
        _send(*STOP_SIGNALS)
    assert _handled() == [signal.SIG_IGN, signal.SIG_IGN]


def test_after_a_flag_without_a_signal_the_error_is_raised_again() -> None:
    def block() -> None:
        with stop_error(_error):
            with stop_flag():
                pass
            _send(signal.SIGUSR1)

    with pytest.raises(TrackyardError, match="stopped by SIGUSR1"):
        block()


BOTH_AT_ONCE = """
import os, signal, sys
from trackyard.errors import StoppedEarly
from trackyard.launch.signals import STOP_SIGNALS, stop_error

try:
    with stop_error(lambda name: StoppedEarly(what=name, why="", fix="")):
        signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
        for number in STOP_SIGNALS:
            os.kill(os.getpid(), number)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
        for _ in range(100_000):
            pass
except StoppedEarly as error:
    print("stopped by", error.what)
os.kill(os.getpid(), signal.SIGTERM)
sys.exit(75)
"""


def test_two_signals_at_once_leave_no_noise_and_the_exit_code() -> None:
    done = subprocess.run([sys.executable, "-c", BOTH_AT_ONCE], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (75, "")
    assert done.stdout.startswith("stopped by SIG")


@pytest.mark.parametrize("number", STOP_SIGNALS)
@pytest.mark.parametrize("interrupt", [signal.default_int_handler, signal.SIG_IGN])
def test_a_stop_signal_interrupts_once_even_where_interrupts_are_ignored(
    number: signal.Signals, interrupt: object
) -> None:
    earlier = signal.signal(signal.SIGINT, interrupt)  # type: ignore[arg-type]
    cleaned = []

    def block() -> None:
        with stop_interrupt() as stopped:
            try:
                _send(number)
                cleaned.append("the end of the block")
            finally:
                _send(*STOP_SIGNALS)  # the second one does not disturb what is put in order
                cleaned.append(stopped.name)

    try:
        with pytest.raises(KeyboardInterrupt):
            block()
    finally:
        signal.signal(signal.SIGINT, earlier)
    assert cleaned == [number.name]
    _send(*STOP_SIGNALS)


def test_an_event_loop_ends_its_tasks_in_order() -> None:
    ended = []

    async def task() -> None:
        try:
            await asyncio.sleep(20)
        finally:
            await asyncio.sleep(0)
            ended.append("in order")

    async def work() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(task())
            asyncio.get_running_loop().call_later(0.01, os.kill, os.getpid(), signal.SIGTERM)

    with pytest.raises(KeyboardInterrupt), stop_interrupt():
        asyncio.run(work())
    assert ended == ["in order"]


def test_without_a_signal_an_interrupt_is_an_interrupt() -> None:
    before = _handled()
    with stop_interrupt() as stopped:
        pass
    assert _handled() == before
    assert not stopped()


def _deadline(max_hours: float | None, **environment: str) -> float | None:
    return deadline(max_hours, environment, wall=1_000_000.0, monotonic=50.0)


def test_the_earlier_of_the_budget_and_the_end_of_the_job_counts() -> None:
    assert _deadline(None) is None
    assert _deadline(2.0) == 50.0 + 7200.0
    assert _deadline(None, SLURM_JOB_END_TIME="1007200") == 50.0 + 7200.0 - LEAD_S
    assert _deadline(1.0, SLURM_JOB_END_TIME="1007200") == 50.0 + 3600.0
    assert _deadline(48.0, SLURM_JOB_END_TIME="1007200") == 50.0 + 7200.0 - LEAD_S
    # A job of four minutes trains for three of them.
    assert _deadline(None, SLURM_JOB_END_TIME="1000240") == 50.0 + 180.0


def test_an_end_that_is_past_or_no_time_is_refused() -> None:
    with pytest.raises(ConfigError, match=rf"{JOB_END} was 10 s ago"):
        _deadline(None, SLURM_JOB_END_TIME="999990")
    with pytest.raises(EnvironmentLacking, match=rf"{JOB_END}='soon' is no time"):
        _deadline(1.0, SLURM_JOB_END_TIME="soon")


def test_at_its_deadline_a_process_stops_itself_as_a_signal_would() -> None:
    moment = time.monotonic() + 0.05
    with stop_error(_error), stopping_at(moment), stop_flag() as stopped:
        while not stopped():
            assert time.monotonic() < moment + 10
            time.sleep(0.005)
        assert stopped.name == TIME_IS_UP
        assert time.monotonic() >= moment
        _send(*STOP_SIGNALS)
    assert stopped.name == TIME_IS_UP


def test_outside_of_training_the_deadline_raises() -> None:
    def block() -> None:
        with stopping_at(time.monotonic() - 1.0), stop_error(_error):
            time.sleep(10)

    # It may strike before the handlers are there; a test process must survive that.
    earlier = signal.signal(signal.SIGUSR1, signal.default_int_handler)
    try:
        with pytest.raises((TrackyardError, KeyboardInterrupt)) as raised:
            block()
    finally:
        signal.signal(signal.SIGUSR1, earlier)
    assert raised.type is KeyboardInterrupt or str(TIME_IS_UP) in str(raised.value)


@pytest.mark.parametrize("hours", [None, 1.0])
def test_before_its_deadline_a_block_ends_quietly_and_signals_keep_their_names(hours: float | None) -> None:
    before = _handled()
    with stopping_at(None if hours is None else time.monotonic() + 3600 * hours), stop_flag() as stopped:
        assert cause("SIGUSR1") == "SIGUSR1"
    assert not stopped()
    assert _handled() == before
