"""Progress: a bar on a terminal, a line now and then in a log, with a rate of what this command did itself."""

from __future__ import annotations

import contextlib
import io
import os
import pty
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackyard.cli import watching
from trackyard.cli.watching import LINE_EVERY_S, Bar


class Clock:
    """Stands for time.monotonic."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(watching.time, "monotonic", clock)
    return clock


def test_a_log_gets_a_line_now_and_then(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with Bar("set repository", "bytes") as bar:
        for second in range(1, 60):
            clock.now += 1
            bar.at(second * 1_000_000, 100_000_000)
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.splitlines()
    assert len(lines) == 5
    assert lines[0] == "set repository: 10.00 MB of 100.00 MB, 1.00 MB/s, 0:01:30 left"


def test_what_was_there_already_is_no_speed(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with Bar("set", "images") as bar:
        bar.at(9000, 10_000)
        clock.now += LINE_EVERY_S
        bar.at(9100, 10_000)
    assert capsys.readouterr().err == "set: 9,100 images of 10,000 images, 10 images/s, 0:01:30 left\n"


def test_another_thing_that_begins_anew_is_counted_anew(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with Bar("set", "bytes") as bar:
        clock.now += 5
        bar.at(10**9)
        clock.now += 1
        bar.at(0, label="unpack", unit="files")
        clock.now += LINE_EVERY_S
        bar.at(50, label="unpack", unit="files")
    assert capsys.readouterr().err == "unpack: 50 files, 5 files/s\n"


def test_quick_work_leaves_no_line(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with Bar("set", "rows") as bar:
        clock.now += LINE_EVERY_S / 2
        bar.at(5, 5)
    assert capsys.readouterr().err == ""


@given(st.lists(st.tuples(st.floats(0, 100), st.integers(0, 10**12)), max_size=30), st.integers(0, 10**12) | st.none())
def test_no_sequence_of_numbers_breaks_it(steps: list[tuple[float, int]], total: int | None) -> None:
    clock = Clock()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(watching.time, "monotonic", clock)
        patch.setattr(sys, "stderr", io.StringIO())
        with Bar("any", "bytes") as bar:
            for seconds, done in steps:
                clock.now += seconds
                bar.at(done, total)
        assert "-" not in sys.stderr.getvalue()  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["FORCE_COLOR", "TTY_COMPATIBLE"])
def test_a_log_stays_a_log_whatever_the_environment_says(
    name: str, monkeypatch: pytest.MonkeyPatch, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(name, "1")
    with Bar("set", "files") as bar:
        bar.at(0, 10)
        clock.now += LINE_EVERY_S
        bar.at(1, 10)
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "\x1b" not in err


@contextmanager
def terminal() -> Iterator[Callable[[], str]]:
    """stderr is a terminal; what was drawn on it."""
    ours, theirs = pty.openpty()
    os.set_blocking(ours, False)
    with pytest.MonkeyPatch.context() as patch, os.fdopen(theirs, "w") as stream:
        patch.setenv("TERM", "xterm")
        patch.setenv("COLUMNS", "120")
        patch.setattr(sys, "stderr", stream)

        def drawn() -> str:
            stream.flush()
            parts = []
            # A terminal hands over a few kilobytes at a time, and a slow machine draws more often.
            with contextlib.suppress(BlockingIOError):
                while part := os.read(ours, 1 << 20):
                    parts.append(part)
            return b"".join(parts).decode()

        yield drawn
    os.close(ours)


def test_a_terminal_shows_count_rate_and_time_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = Clock()
    with terminal() as drawn:
        with Bar("set repository", "bytes") as bar:
            monkeypatch.setattr(watching.time, "monotonic", clock)
            bar.at(0, 100_000_000)
            clock.now += 2
            bar.at(50_000_000, 100_000_000)
            bar._progress.refresh()
            print("in the middle")
        shown = drawn()
    assert re.search(r"set repository.*50\.00 MB of 100\.00 MB, 25\.00 MB/s.*(-:--:--|\d:\d\d:\d\d)", shown)
    assert "in the middle" not in shown
    assert capsys.readouterr().out == "in the middle\n", "what is printed meanwhile stays on stdout"
