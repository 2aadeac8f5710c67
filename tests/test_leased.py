"""The lock by hard link: exclusive, taken over from the dead at once on this host, elsewhere when the lease is over."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import flufl.lock
import pytest

from trackyard import leased as module
from trackyard.errors import TrackyardError
from trackyard.leased import CLOCKS_S, Held, holder, leased, link_of

HOLDS = """
import sys, time
from pathlib import Path
from trackyard.leased import leased
with leased(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


def other_process(path: Path) -> subprocess.Popen[str]:
    """One that holds the lock; it is the caller's to end."""
    process = subprocess.Popen([sys.executable, "-c", HOLDS, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def a_link(path: Path, host: str, pid: int, expires_in_s: float) -> None:
    """As a process of some host leaves it."""
    claim = Path(flufl.lock.SEP.join((str(link_of(path)), host, str(pid), "4711")))
    claim.write_text(str(claim))
    link_of(path).hardlink_to(claim)
    moment = time.time() + expires_in_s
    os.utime(claim, (moment, moment))


def test_a_second_owner_is_refused_and_nothing_is_left_behind(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    with leased(path):
        assert holder(path) == f"process {os.getpid()} on {socket.gethostname()}"
        with pytest.raises(Held, match=f"process {os.getpid()} on"), leased(path):
            pytest.fail("two owners")
    assert list(tmp_path.iterdir()) == []
    with leased(path):
        pass


def test_another_process_is_refused_while_it_lives_and_taken_over_when_it_was_killed(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    process = other_process(path)
    try:
        with pytest.raises(Held, match=f"process {process.pid} on {socket.gethostname()}"), leased(path):
            pytest.fail("two owners")
    finally:
        process.kill()
        process.wait()
    assert link_of(path).exists()
    assert holder(path) is None
    with leased(path):
        assert holder(path) == f"process {os.getpid()} on {socket.gethostname()}"
    assert list(tmp_path.iterdir()) == []


def test_an_owner_on_another_host_keeps_it_until_its_lease_is_over(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    # A process of that number is alive here, which says nothing about another host.
    a_link(path, "node7", os.getpid(), expires_in_s=30)
    with pytest.raises(Held, match="on node7"), leased(path):
        pytest.fail("two owners")
    os.utime(link_of(path), (0, time.time() - CLOCKS_S + 5))
    # Clocks of two hosts differ: just over is not over.
    with pytest.raises(Held), leased(path):
        pytest.fail("two owners")
    os.utime(link_of(path), (0, time.time() - CLOCKS_S - 5))
    with leased(path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_link_that_names_nobody_counts_for_its_lease(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    link_of(path).write_text("?")
    os.utime(link_of(path), (0, time.time() + 30))
    assert holder(path) == "an unknown process"
    os.utime(link_of(path), (0, time.time() - 30))
    assert holder(path) is None


def test_of_many_that_find_a_dead_owner_one_gets_it(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    process = other_process(path)
    process.kill()
    process.wait()
    inside, most, refused = [0], [0], [0]

    def attempt() -> None:
        try:
            with leased(path):
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                time.sleep(0.2)
                inside[0] -= 1
        except Held:
            refused[0] += 1

    threads = [threading.Thread(target=attempt) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most[0] == 1
    assert refused[0] < 4
    assert list(tmp_path.iterdir()) == []


def test_a_lease_is_renewed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REFRESH_S", 0.05)
    path = tmp_path / ".lock"
    with leased(path):
        os.utime(link_of(path), (0, time.time() - 1))
        limit = time.monotonic() + 20
        while link_of(path).stat().st_mtime < time.time() + 60:
            assert time.monotonic() < limit
            time.sleep(0.02)


def test_a_lock_that_was_lost_is_told(tmp_path: Path) -> None:
    path = tmp_path / ".lock"

    def lose() -> None:
        with leased(path):
            link_of(path).unlink()
            a_link(path, "node7", 1, expires_in_s=30)

    with pytest.raises(TrackyardError, match="lost the lock"):
        lose()
    # Whoever has it now keeps it.
    assert holder(path) == "process 1 on node7"


def test_whoever_lost_it_is_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REFRESH_S", 0.05)
    path = tmp_path / ".lock"

    def lose() -> None:
        with leased(path):
            link_of(path).unlink()
            time.sleep(60)
            pytest.fail("not interrupted")

    with pytest.raises(TrackyardError, match="lost the lock") as raised:
        lose()
    assert isinstance(raised.value.__cause__, flufl.lock.NotLockedError)


def test_a_door_that_stays_shut_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DOOR_S", 0)
    monkeypatch.setattr(module, "CLOCKS_S", 0)
    door = tmp_path / ".lock.door"
    door.write_text("somebody's")
    os.utime(door, (0, time.time() + 600))
    with pytest.raises(Held, match=r"keeps \.lock\.door in "), leased(tmp_path / ".lock"):
        pytest.fail("let in")


def test_whoever_stood_still_inside_the_door_does_not_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    renew = module._renew

    def slow(lock: flufl.lock.Lock) -> None:
        renew(lock)
        (tmp_path / ".lock.door").unlink()

    monkeypatch.setattr(module, "_renew", slow)
    with pytest.raises(Held, match="faster through the door"), leased(tmp_path / ".lock"):
        pytest.fail("let in")
    assert not link_of(tmp_path / ".lock").exists()
