"""Crash points do nothing unless their own name is armed."""

from __future__ import annotations

import os
import signal

import pytest

from trackyard.crash import ARMED, crash_point


def test_only_the_armed_point_kills(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: sent.append((pid, number)))
    crash_point("here")
    monkeypatch.setenv(ARMED, "there")
    crash_point("here")
    assert sent == []
    crash_point("there")
    assert sent == [(os.getpid(), signal.SIGKILL)]
