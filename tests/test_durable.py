"""Writes are complete or absent: under errors, a full disk, and SIGKILL at any moment."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trackyard.durable import TEMPORARY, atomic_directory, sweep, write_atomic
from trackyard.errors import ConfigError

SIZE = 1 << 20
KILL_AFTER_S = (0.0, 0.005, 0.02, 0.05, 0.1)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def _killed(code: str, folder: Path, after_s: float) -> None:
    """Run `code` in a process that says when it begins, and SIGKILL it `after_s` seconds later."""
    program = f"import sys\nfrom pathlib import Path\nfrom trackyard.durable import *\nroot = Path(sys.argv[1])\n{code}"
    with subprocess.Popen([sys.executable, "-c", program, str(folder)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"begin\n"
        time.sleep(after_s)
        process.kill()
    assert process.returncode == -signal.SIGKILL


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None)
@given(before=st.binary(max_size=100) | st.none(), after=st.binary(max_size=100))
def test_the_file_is_replaced_whole_and_nothing_else_stays(tmp_path: Path, before: bytes | None, after: bytes) -> None:
    path = tmp_path / "new" / "folder" / "file"
    if before is not None:
        write_atomic(path, before)
    write_atomic(path, after)
    assert path.read_bytes() == after
    assert _names(path.parent) == ["file"]


def test_bytes_are_on_the_disk_before_they_have_their_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a power cut would show the difference: a rename that survives it while what was written does not."""
    done: list[str] = []
    sync, rename = os.fsync, os.replace

    def fsync(handle: int) -> None:
        name = Path(f"/proc/self/fd/{handle}").readlink().name
        done.append(f"flush {name.removeprefix(TEMPORARY).split('.')[0]}")
        sync(handle)

    def replace(old: Path, new: Path) -> None:
        done.append(f"rename {new.name}")
        rename(old, new)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replace)
    write_atomic(tmp_path / "folder" / "file", b"x")
    assert done == ["flush file", "rename file", "flush folder"]
    done.clear()
    with atomic_directory(tmp_path / "folder" / "step") as partial:
        (partial / "deep").mkdir()
        (partial / "deep" / "inner").write_bytes(b"x")
    assert sorted(done[:3]) == ["flush deep", "flush inner", "flush step"]
    assert done[3:] == ["rename step", "flush folder"]


def test_who_waits_for_a_name_may_move_its_directory_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, moved = tmp_path / "growing", tmp_path / "whole"
    rename = os.replace

    def replace(old: Path, new: Path) -> None:
        rename(old, new)
        rename(folder, moved)

    monkeypatch.setattr(os, "replace", replace)
    write_atomic(folder / "note", b"x")
    assert (moved / "note").read_bytes() == b"x"
    assert _names(tmp_path) == ["whole"]


def test_text_is_written_as_utf8(tmp_path: Path) -> None:
    write_atomic(tmp_path / "a", "ü\n")
    assert (tmp_path / "a").read_bytes() == b"\xc3\xbc\n"


@pytest.mark.parametrize("after_s", KILL_AFTER_S)
def test_a_killed_writer_leaves_the_old_or_the_new_content(tmp_path: Path, after_s: float) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"0" * SIZE)
    _killed(
        "print('begin', flush=True)\n"
        f"for n in range(10_000): write_atomic(root / 'file', str(n % 10).encode() * {SIZE})",
        tmp_path,
        after_s,
    )
    data = path.read_bytes()
    assert len(data) == SIZE
    assert data == data[:1] * SIZE
    sweep(tmp_path)
    assert _names(tmp_path) == ["file"]


@pytest.mark.parametrize("after_s", KILL_AFTER_S)
def test_a_killed_directory_is_absent_or_whole(tmp_path: Path, after_s: float) -> None:
    _killed(
        "print('begin', flush=True)\n"
        "for n in range(10_000):\n"
        "    with atomic_directory(root / f'step-{n}') as partial:\n"
        f"        for k in range(3): (partial / str(k)).write_bytes(b'x' * {SIZE // 16})",
        tmp_path,
        after_s,
    )
    sweep(tmp_path)
    for step in tmp_path.iterdir():
        assert step.name.startswith("step-")
        assert {path.name: path.stat().st_size for path in step.iterdir()} == dict.fromkeys("012", SIZE // 16)


def test_a_full_disk_keeps_the_old_file_and_removes_the_part(small_disk: Path) -> None:
    path = small_disk / "file"
    write_atomic(path, b"old")
    with pytest.raises(OSError) as raised:
        write_atomic(path, b"x" * SIZE)
    assert raised.value.errno == errno.ENOSPC
    assert path.read_bytes() == b"old"
    assert _names(small_disk) == ["file"]
    write_atomic(path, b"x" * 1024)
    assert path.stat().st_size == 1024


def test_a_full_disk_leaves_no_directory(small_disk: Path) -> None:
    def save() -> None:
        with atomic_directory(small_disk / "step") as partial:
            (partial / "a").write_bytes(b"x" * 1024)
            (partial / "b").write_bytes(b"x" * SIZE)

    with pytest.raises(OSError) as raised:
        save()
    assert raised.value.errno == errno.ENOSPC
    assert _names(small_disk) == []


def test_a_refused_write_keeps_the_old_file(tmp_path: Path) -> None:
    """The same without a file system of one's own: the process may not write files over 64 KiB."""
    path = tmp_path / "file"
    write_atomic(path, b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, hard))
    try:
        with pytest.raises(OSError) as raised:
            write_atomic(path, b"x" * SIZE)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert raised.value.errno == errno.EFBIG
    assert path.read_bytes() == b"old"
    assert _names(tmp_path) == ["file"]


def test_a_directory_appears_only_at_the_end(tmp_path: Path) -> None:
    target = tmp_path / "a" / "step"
    with atomic_directory(target) as partial:
        (partial / "deep").mkdir()
        (partial / "deep" / "file").write_text("x")
        assert not target.exists()
        assert partial.parent == target.parent
        assert partial.name.startswith(TEMPORARY)
    assert (target / "deep" / "file").read_text() == "x"
    assert _names(target.parent) == ["step"]


def test_an_error_inside_the_block_leaves_nothing_and_is_not_hidden(tmp_path: Path) -> None:
    def interrupted() -> None:
        with atomic_directory(tmp_path / "step") as partial:
            (partial / "file").write_text("x")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert _names(tmp_path) == []


def test_a_complete_directory_is_never_written_again(tmp_path: Path) -> None:
    (tmp_path / "step").mkdir()
    with pytest.raises(FileExistsError), atomic_directory(tmp_path / "step"):
        pytest.fail("the block must not run")


def test_of_two_that_make_the_same_directory_one_is_told(tmp_path: Path) -> None:
    def late() -> None:
        with atomic_directory(tmp_path / "step") as partial:
            (partial / "own").touch()
            (tmp_path / "step").mkdir()
            (tmp_path / "step" / "first").touch()

    with pytest.raises(FileExistsError):
        late()
    assert _names(tmp_path / "step") == ["first"]
    assert _names(tmp_path) == ["step"]


def test_what_a_dead_process_with_the_same_id_left_is_not_mixed_in(tmp_path: Path) -> None:
    left = tmp_path / f"{TEMPORARY}step.{os.getpid()}.{threading.get_ident()}"
    left.mkdir()
    (left / "stale").write_text("x")
    with atomic_directory(tmp_path / "step"):
        pass
    assert _names(tmp_path / "step") == []
    assert _names(tmp_path) == ["step"]


def test_sweep_removes_partials_only_and_says_which(tmp_path: Path) -> None:
    (tmp_path / f"{TEMPORARY}file.1").write_text("x")
    (tmp_path / f"{TEMPORARY}step.2").mkdir()
    (tmp_path / f"{TEMPORARY}step.2" / "a").write_text("x")
    (tmp_path / "kept").write_text("x")
    assert [path.name for path in sweep(tmp_path, "step")] == [f"{TEMPORARY}step.2"]
    (tmp_path / f"{TEMPORARY}step.2").mkdir()
    assert [path.name for path in sweep(tmp_path)] == [f"{TEMPORARY}file.1", f"{TEMPORARY}step.2"]
    assert _names(tmp_path) == ["kept"]
    assert sweep(tmp_path) == []
    assert sweep(tmp_path / "absent") == []


def test_sweep_passes_over_what_its_writer_has_finished_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, real = tmp_path / f"{TEMPORARY}probe.7", Path.is_dir
    mine.touch()

    def gone(path: Path) -> bool:
        if path == mine:
            mine.unlink()
        return real(path)

    monkeypatch.setattr(Path, "is_dir", gone)
    sweep(tmp_path)
    assert _names(tmp_path) == []


def test_sweep_leaves_what_only_begins_with_the_name(tmp_path: Path) -> None:
    """Seeds 1 and 10 of an arm end side by side: what the one puts out is none of the other's remains."""
    with atomic_directory(tmp_path / "10"):
        (tmp_path / f"{TEMPORARY}1").touch()
        (tmp_path / f"{TEMPORARY}1.17.4").mkdir()
        assert [path.name for path in sweep(tmp_path, "1")] == [f"{TEMPORARY}1", f"{TEMPORARY}1.17.4"]
    assert _names(tmp_path) == ["10"]


def test_the_kill_test_can_fail(tmp_path: Path) -> None:
    """Negative control: a plain write in chunks does leave a part behind."""
    _killed(
        "with open(root / 'file', 'wb') as out:\n"
        "    out.write(b'x'); out.flush(); print('begin', flush=True)\n"
        "    while True: pass",
        tmp_path,
        0.0,
    )
    assert (tmp_path / "file").stat().st_size == 1 < SIZE


def test_a_file_that_would_hold_a_secret_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "result.json"
    write_atomic(path, "before")
    monkeypatch.setenv("MY_PASSWORD", "corr3ct-horse")
    write_atomic(path, "the word horse alone is none")
    with pytest.raises(ConfigError, match="MY_PASSWORD") as caught:
        write_atomic(path, '{"title": "corr3ct-horse"}')
    assert "corr3ct-horse" not in str(caught.value)
    assert path.read_text() == "the word horse alone is none"
    assert list(tmp_path.iterdir()) == [path]
