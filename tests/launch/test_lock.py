"""One process per run directory: the second is refused at once and told the owner; a dead owner's lock is taken."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from trackyard.errors import TrackyardError
from trackyard.launch.lock import LOCK, run_lock

HOLD = """
import sys, time
from pathlib import Path
from trackyard.launch.lock import run_lock
with run_lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@contextmanager
def holder(path: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that holds the lock of `path`."""
    with subprocess.Popen([sys.executable, "-c", HOLD, str(path), *arguments], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        yield process
        process.kill()


def test_a_second_process_is_refused_at_once_and_told_the_owner(tmp_path: Path) -> None:
    with holder(tmp_path, "--steps=3", "--token", "hf_" + "Ab1" * 12) as owner:
        started = time.monotonic()
        with pytest.raises(TrackyardError) as raised, run_lock(tmp_path):
            pytest.fail("two processes hold one lock")
        assert time.monotonic() - started < 5.0
    told = raised.value.what
    assert str(tmp_path) in told
    assert f"process {owner.pid} on {socket.gethostname()} since 2" in told
    assert "--steps=3" in told
    assert "hf_" not in told
    assert raised.value.exit_code == 1


def test_the_lock_of_a_killed_process_is_taken(tmp_path: Path) -> None:
    with holder(tmp_path) as owner:
        owner.send_signal(signal.SIGKILL)
        owner.wait()
        assert str(owner.pid) in (tmp_path / LOCK).read_text()
        with run_lock(tmp_path):
            assert str(os.getpid()) in (tmp_path / LOCK).read_text()


def test_it_is_free_again_after_the_block_and_after_an_error(tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), run_lock(tmp_path):
            raise ZeroDivisionError
        assert (tmp_path / LOCK).read_bytes() == b""


def test_other_runs_are_not_held_up(tmp_path: Path) -> None:
    with run_lock(tmp_path / "a"), run_lock(tmp_path / "b"):
        assert all(str(os.getpid()) in (tmp_path / name / LOCK).read_text() for name in ("a", "b"))
