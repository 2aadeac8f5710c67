"""Progress passes the items through and is drawn on terminals only."""

from __future__ import annotations

import pytest

from trackyard.progress import track


def test_items_come_through_in_order_and_nothing_is_printed_without_a_terminal(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    assert list(track(range(5), label="hashing", total=5)) == [0, 1, 2, 3, 4]
    assert capfd.readouterr() == ("", "")


def test_a_terminal_gets_the_bar_on_stderr(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    list(track(range(5), label="hashing", total=5))
    told = capfd.readouterr()
    assert told.out == ""
    assert "hashing" in told.err
    assert "5/5" in told.err


def test_items_are_taken_one_at_a_time() -> None:
    taken: list[int] = []
    stream = track((taken.append(i) or i for i in range(5)), label="x", total=5)  # type: ignore[func-returns-value]
    assert next(stream) == 0
    assert taken == [0]


def test_an_error_of_the_source_comes_through() -> None:
    def source():  # type: ignore[no-untyped-def]
        yield 1
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        list(track(source(), label="x", total=2))
