"""Threads that ask at once all have their time limit, and leave the environment as it was."""

from __future__ import annotations

import os
import threading

import pytest

from trackyard.record.tracking.time_limit import VARIABLE, time_limit


@pytest.fixture(autouse=True)
def unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)


@pytest.mark.parametrize(("seconds", "text"), [(0.2, "1"), (9.6, "10"), (120.0, "120")])
def test_whole_seconds_and_never_none(seconds: float, text: str) -> None:
    with time_limit(seconds):
        assert os.environ[VARIABLE] == text
    assert VARIABLE not in os.environ


def test_an_error_inside_leaves_nothing_behind() -> None:
    with pytest.raises(OSError, match="gone"), time_limit(5.0):
        raise OSError("gone")
    assert VARIABLE not in os.environ


def test_what_the_user_has_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "60")
    with time_limit(5.0), time_limit(6.0):
        assert os.environ[VARIABLE] == "60"
    assert os.environ[VARIABLE] == "60"


def test_the_first_that_ends_does_not_take_the_limit_of_the_others() -> None:
    begun, ended = threading.Event(), threading.Event()
    left: list[str | None] = []

    def other() -> None:
        with time_limit(7.0):
            begun.set()
            ended.wait(10)
            left.append(os.environ.get(VARIABLE))

    with time_limit(5.0):
        thread = threading.Thread(target=other)
        thread.start()
        begun.wait(10)
    ended.set()
    thread.join()
    assert left == ["7"]
    assert VARIABLE not in os.environ
