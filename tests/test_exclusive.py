"""The lock file: refused within one process too, named where it cannot be made or locked."""

from __future__ import annotations

import errno
import fcntl
import math
import threading
from pathlib import Path

import pytest

from trackyard import exclusive as exclusive_module
from trackyard.errors import ConfigError, EnvironmentLacking, TrackyardError
from trackyard.exclusive import LOCKS_VARIABLE, exclusive
from trackyard.leased import leased


def test_a_second_owner_is_refused_in_the_callers_words(tmp_path: Path) -> None:
    path = tmp_path / "new" / ".lock"
    with (
        exclusive(path, what="the well", why="both would drink"),
        pytest.raises(TrackyardError, match="the well is in use by process") as raised,
        exclusive(path, what="the well", why="both would drink"),
    ):
        pytest.fail("two owners")
    assert raised.value.why == "both would drink"


@pytest.mark.parametrize("locks", ["flock", "link"])
def test_a_second_owner_that_has_time_comes_after_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, locks: str
) -> None:
    monkeypatch.setenv(LOCKS_VARIABLE, locks)
    monkeypatch.setattr(exclusive_module, "WAIT_EVERY_S", 0.01)
    path, told = tmp_path / ".lock", []
    asked, come = threading.Event(), threading.Event()

    def second() -> None:
        asked.set()
        with exclusive(path, what="the well", why="both would drink", wait_s=math.inf):
            told.append("second")
            come.set()

    with exclusive(path, what="the well", why="both would drink"):
        thread = threading.Thread(target=second)
        thread.start()
        assert asked.wait(60)
        assert not come.wait(0.2)
        told.append("first")
    thread.join(60)
    assert told == ["first", "second"]


def test_an_owner_that_has_not_written_its_name_yet(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    with open(path, "w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        with pytest.raises(TrackyardError, match="has just started"), exclusive(path, what="x", why="y"):
            pytest.fail("two owners")


def test_an_owner_that_writes_its_name_while_the_second_is_refused(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    owner = b'{"pid": 7, "host": "yard", "since": "noon", "command": "dig"}'
    with open(path, "wb", buffering=0) as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        writing = threading.Timer(0.05, handle.write, (owner,))
        writing.start()
        wanted = "in use by process 7 on yard since noon: dig"
        with pytest.raises(TrackyardError, match=wanted), exclusive(path, what="x", why="y"):
            pytest.fail("two owners")
        writing.join()


def test_a_place_that_cannot_hold_it_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(EnvironmentLacking, match="cannot be opened"),
        exclusive(tmp_path / "file" / "l", what="", why=""),
    ):
        pytest.fail("locked")


def test_a_file_system_without_locks_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(handle: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(EnvironmentLacking, match="No locks available"), exclusive(tmp_path / "l", what="x", why="y"):
        pytest.fail("locked")


@pytest.fixture
def by_link(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LOCKS_VARIABLE, "link")


@pytest.fixture
def no_flock(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(handle: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)


@pytest.mark.usefixtures("by_link", "no_flock")
def test_links_lock_where_flock_does_not(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    with (
        exclusive(path, what="the well", why="both would drink"),
        pytest.raises(TrackyardError, match=r"the well is in use by process .* since") as raised,
        exclusive(path, what="the well", why="both would drink"),
    ):
        pytest.fail("two owners")
    assert raised.value.why == "both would drink"
    assert [one.name for one in tmp_path.iterdir()] == [".lock"]
    with exclusive(path, what="the well", why="both would drink"):
        pass


def test_an_owner_by_flock_is_seen_by_one_that_takes_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / ".lock"
    with exclusive(path, what="x", why="y"):
        monkeypatch.setenv(LOCKS_VARIABLE, "link")
        with pytest.raises(TrackyardError, match="in use"), exclusive(path, what="x", why="y"):
            pytest.fail("two owners")


def test_an_owner_by_link_is_seen_by_one_whose_flock_ends_at_its_host(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    with leased(path), pytest.raises(TrackyardError, match="locks by link"), exclusive(path, what="x", why="y"):
        pytest.fail("two owners")


@pytest.mark.usefixtures("by_link")
def test_a_file_system_without_links_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(exclusive_module, "leased", refuse)
    with pytest.raises(EnvironmentLacking, match="by a hard link"), exclusive(tmp_path / "l", what="x", why="y"):
        pytest.fail("locked")


def test_another_way_of_locking_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LOCKS_VARIABLE, "hardlink")
    with pytest.raises(ConfigError, match="hardlink"), exclusive(tmp_path / "l", what="x", why="y"):
        pytest.fail("locked")
