"""Locks that DVC leaves: told with what is known of their owner, and removed only where nobody holds them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from dvc.lock import HardlinkLock, Lock, LockError

from trackyard.errors import TrackyardError
from trackyard.launch.unlocking import leftovers, remove_all

AT_ONCE = timedelta(milliseconds=1)
"""None would be three seconds to DVC."""
KILLED = """
import os, signal, sys
from dvc.lock import make_lock
make_lock(sys.argv[1], tmp_dir=sys.argv[2], hardlink_lock=sys.argv[3] == "link").lock()
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / ".dvc" / "tmp").mkdir(parents=True)
    return tmp_path


def killed_while_locking(root: Path, kind: str) -> Path:
    folder = root / ".dvc" / "tmp"
    path = folder / "lock"
    subprocess.run([sys.executable, "-c", KILLED, str(path), str(folder), kind], cwd=root, check=False)
    assert path.exists()
    return path


@contextmanager
def a_command(root: Path, name: str = "dvc", word: str = "commit") -> Iterator[int]:
    """A process that looks like one, at work in the repository."""
    script = root / name
    script.write_text("import sys, time\nprint('here', flush=True)\ntime.sleep(600)\n")
    process = subprocess.Popen([sys.executable, str(script), word], cwd=root, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        yield process.pid
    finally:
        process.kill()
        process.wait()


def link(root: Path) -> HardlinkLock:
    return HardlinkLock(str(root / ".dvc" / "tmp" / "lock"), tmp_dir=str(root / ".dvc" / "tmp"))


def test_nothing_is_left_over(root: Path) -> None:
    assert leftovers(root) == ()
    assert remove_all(root) == []


def test_a_link_of_a_killed_command_stops_dvc_until_it_is_removed(root: Path) -> None:
    path = killed_while_locking(root, "link")
    with pytest.raises(LockError):
        link(root).lock(timeout=AT_ONCE)
    (found,) = leftovers(root)
    assert found.path == path
    assert "a hard link of user" in found.owner
    assert "no command that locks is at work in this repository" in found.owner
    assert remove_all(root) == [path]
    assert list((root / ".dvc" / "tmp").iterdir()) == []
    lock = link(root)
    lock.lock(timeout=AT_ONCE)
    lock.unlock()


def test_what_flock_left_stops_links_until_it_is_removed(root: Path) -> None:
    path = killed_while_locking(root, "flock")
    with pytest.raises(LockError):
        link(root).lock(timeout=AT_ONCE)
    (found,) = leftovers(root)
    assert "a file of flock, made by process " in found.owner
    assert found.living == ()
    assert remove_all(root) == [path]
    lock = link(root)
    lock.lock(timeout=AT_ONCE)
    lock.unlock()


@pytest.mark.parametrize(("name", "word"), [("dvc", "commit"), ("trackyard", "submit")])
def test_a_living_command_is_not_robbed(root: Path, name: str, word: str) -> None:
    path = killed_while_locking(root, "link")
    with a_command(root, name, word) as pid:
        (found,) = leftovers(root)
        assert found.living[0].startswith(f"process {pid}: ")
        with pytest.raises(TrackyardError, match=f"in use by process {pid}"):
            remove_all(root)
    assert path.exists()
    assert remove_all(root) == [path]


def test_a_living_flock_is_not_robbed(root: Path) -> None:
    lock = Lock(str(root / ".dvc" / "tmp" / "lock"))
    with lock, pytest.raises(TrackyardError, match="in use by process"):
        remove_all(root)
    assert (root / ".dvc" / "tmp" / "lock").exists()


def test_a_command_of_another_repository_holds_nothing_here(
    root: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = killed_while_locking(root, "link")
    with a_command(tmp_path_factory.mktemp("other")), a_command(root, "trackyard", "ui"):
        assert remove_all(root) == [path]


def test_a_link_of_another_user_is_theirs(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = killed_while_locking(root, "link")
    monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)
    with pytest.raises(TrackyardError, match="whose processes only that user sees"):
        remove_all(root)
    assert path.exists()


def test_a_link_of_a_host_that_mounts_the_project_elsewhere_is_not_robbed(root: Path) -> None:
    folder = root / ".dvc" / "tmp"
    claim, path = folder / "abc.lock", folder / "lock"
    claim.write_text("/elsewhere/.dvc/tmp/abc.lock")
    path.hardlink_to(claim)
    with a_command(root) as pid, pytest.raises(TrackyardError, match=f"in use by process {pid}"):
        remove_all(root)
    assert path.exists()
    assert remove_all(root) == [path]
    assert list(folder.iterdir()) == []


def test_a_lock_that_is_released_meanwhile_is_not_left_over(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = root / ".dvc" / "tmp" / "lock"
    path.write_text("1")
    read = Path.read_text

    def released(self: Path, encoding: str | None = None, errors: str | None = None) -> str:
        if self == path:
            self.unlink()
        return read(self, encoding, errors)

    monkeypatch.setattr(Path, "read_text", released)
    assert leftovers(root) == ()
    assert not path.exists()
