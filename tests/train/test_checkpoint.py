"""Checkpoints: complete or invisible, every damage found, and the newest sound one is what a run resumes from."""

from __future__ import annotations

import errno
import json
import random
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trackyard.digest import digest_file
from trackyard.errors import CheckpointError
from trackyard.train.checkpoint import (
    COMPLETE,
    MANIFEST,
    complete_checkpoints,
    directory_name,
    newest_valid,
    rotate,
    step_of,
    verify_checkpoint,
    write_checkpoint,
)

IDENTITY = {"run_id": "abc", "plan": "f00"}
FILES = {"state/weights.pt": b"w" * 1000, "state/moments.pt": bytes(range(256)) * 3, "rank-0.json": b"{}"}


def write(root: Path, step: int, *, save: Callable[[Path], None] | None = None, writer: bool = True) -> Path:
    def save_files(target: Path) -> None:
        for name, data in FILES.items():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            (target / name).write_bytes(data + str(step).encode())

    return write_checkpoint(
        root, step=step, identity=IDENTITY, save=save or save_files, barrier=lambda: None, is_writer=writer
    )


def steps(root: Path) -> list[int | None]:
    return [step_of(path) for path in complete_checkpoints(root)]


def test_what_is_written_is_proved_and_found(tmp_path: Path) -> None:
    assert newest_valid(tmp_path / "absent", IDENTITY) == (None, [])
    root = tmp_path / "checkpoints"
    for step in (2, 10, 100):
        assert write(root, step) == root / directory_name(step)
    assert steps(root) == [2, 10, 100]
    assert newest_valid(root, IDENTITY) == (root / "step-00000100", [])
    assert (root / "step-00000100" / "state" / "weights.pt").read_bytes() == FILES["state/weights.pt"] + b"100"
    manifest = json.loads((root / "step-00000100" / MANIFEST).read_text())
    assert manifest["schema"] == "trackyard-checkpoint/1"
    assert {entry["path"] for entry in manifest["files"]} == set(FILES)
    assert sorted(path.name for path in root.iterdir()) == [directory_name(step) for step in (2, 10, 100)]


@pytest.mark.parametrize(("name", "step"), [("step-00000007", 7), ("step-7", None), (".partial-step-00000007", None)])
def test_names(name: str, step: int | None) -> None:
    assert step_of(Path("x") / name) == step


def test_half_written_ones_are_invisible_and_swept(tmp_path: Path) -> None:
    write(tmp_path, 1)
    shutil.copytree(tmp_path / directory_name(1), tmp_path / directory_name(2))
    (tmp_path / directory_name(2) / COMPLETE).unlink()
    (tmp_path / ".partial-step-00000003").mkdir()
    (tmp_path / ".partial-step-00000003" / "weights.pt").write_bytes(b"half")
    assert newest_valid(tmp_path, IDENTITY) == (tmp_path / directory_name(1), [])
    write(tmp_path, 4)
    assert sorted(path.name for path in tmp_path.iterdir()) == [directory_name(1), directory_name(4)]


@pytest.mark.parametrize("killed_at", ["save", "os.replace", "write_atomic"])
def test_a_death_at_any_point_leaves_the_earlier_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed_at: str
) -> None:
    write(tmp_path, 1)

    def die(*_: object) -> None:
        raise KeyboardInterrupt  # not caught: as far as the files go, like a kill

    def half(target: Path) -> None:
        (target / "half").write_bytes(b"x")
        die()

    with monkeypatch.context() as patch:
        if killed_at != "save":
            patch.setattr(f"trackyard.train.checkpoint.{killed_at}", die)
        with pytest.raises(KeyboardInterrupt):
            write(tmp_path, 2, save=half if killed_at == "save" else None)
    assert newest_valid(tmp_path, IDENTITY) == (tmp_path / directory_name(1), [])
    write(tmp_path, 2)
    assert newest_valid(tmp_path, IDENTITY) == (tmp_path / directory_name(2), [])
    assert sorted(path.name for path in tmp_path.iterdir()) == [directory_name(1), directory_name(2)]


def every_file(directory: Path) -> list[Path]:
    return sorted(path for path in directory.rglob("*") if path.is_file())


@settings(max_examples=40, deadline=None)
@given(st.randoms(use_true_random=False))
def test_every_flipped_bit_is_found(tmp_path_factory: pytest.TempPathFactory, chance: random.Random) -> None:
    root = tmp_path_factory.mktemp("flip")
    write(root, 1)
    damaged = write(root, 2)
    file = chance.choice(every_file(damaged))
    data = bytearray(file.read_bytes())
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    file.write_bytes(data)
    path, rejected = newest_valid(root, IDENTITY)
    assert path == root / directory_name(1)
    assert [item.path for item in rejected] == [damaged]
    # The message names the file and both digests; a damaged marker shows as a manifest with another digest.
    named = damaged / MANIFEST if file.name == COMPLETE else file
    assert str(named) in rejected[0].problem
    assert digest_file(named) in rejected[0].problem
    assert "expected blake3" in rejected[0].problem


def test_every_bit_of_manifest_and_marker_counts(tmp_path: Path) -> None:
    damaged = write(tmp_path, 2)
    for file in (damaged / MANIFEST, damaged / COMPLETE):
        sound = file.read_bytes()
        for at in range(0, len(sound), 3):
            file.write_bytes(sound[:at] + bytes([sound[at] ^ (1 << at % 8)]) + sound[at + 1 :])
            with pytest.raises(CheckpointError):
                verify_checkpoint(damaged, IDENTITY)
        file.write_bytes(sound)
    verify_checkpoint(damaged, IDENTITY)


def truncate(directory: Path) -> None:
    (directory / "state" / "weights.pt").write_bytes(b"w" * 999)


def swap(directory: Path) -> None:
    one, other = directory / "state" / "weights.pt", directory / "state" / "moments.pt"
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)


def link_out(directory: Path) -> None:
    file = directory / "rank-0.json"
    outside = directory.parent / "outside.json"
    file.rename(outside)
    file.symlink_to(outside)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "truncated": truncate,
    "emptied": lambda directory: (directory / "rank-0.json").write_bytes(b""),
    "missing": lambda directory: (directory / "rank-0.json").unlink(),
    "swapped": swap,
    "a directory in its place": lambda directory: (
        (directory / "rank-0.json").unlink(),
        (directory / "rank-0.json").mkdir(),
    ),
    "a link in its place": link_out,
    "no manifest": lambda directory: (directory / MANIFEST).unlink(),
    "empty manifest": lambda directory: (directory / MANIFEST).write_bytes(b""),
    "manifest of another step": lambda directory: shutil.copy(
        directory.parent / directory_name(1) / MANIFEST, directory
    ),
    "a file more": lambda directory: (directory / "state" / "rank-7.pt").write_bytes(b"stray"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_falls_back_to_the_one_before(tmp_path: Path, damage: str) -> None:
    write(tmp_path, 1)
    damaged = write(tmp_path, 2)
    DAMAGE[damage](damaged)
    path, rejected = newest_valid(tmp_path, IDENTITY)
    assert path == tmp_path / directory_name(1)
    assert [item.path for item in rejected] == [damaged]
    assert str(damaged) in rejected[0].problem
    with pytest.raises(CheckpointError) as caught:
        verify_checkpoint(damaged, IDENTITY)
    assert caught.value.fix.startswith(f"remove {damaged}")


def test_a_directory_renamed_to_another_step_is_refused(tmp_path: Path) -> None:
    write(tmp_path, 1).rename(tmp_path / directory_name(9))
    assert newest_valid(tmp_path, IDENTITY)[0] is None


def test_the_state_of_another_run_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, 1)
    with pytest.raises(CheckpointError, match=r"run_id.*abc.*this run is .*other"):
        verify_checkpoint(path, {"run_id": "other", "plan": "f00"})
    found, rejected = newest_valid(tmp_path, {"run_id": "abc", "plan": "f01"})
    assert found is None
    assert "f00" in rejected[0].problem


def test_a_damaged_one_is_replaced_when_the_run_comes_there_again(tmp_path: Path) -> None:
    write(tmp_path, 1)
    truncate(write(tmp_path, 2))
    truncate(write(tmp_path, 3))
    write(tmp_path, 2)
    assert newest_valid(tmp_path, IDENTITY) == (tmp_path / directory_name(2), [])
    assert steps(tmp_path) == [1, 2], "step 3 was damaged, and would push a sound one out"


def test_after_a_fall_back_rotation_never_deletes_what_was_just_written(tmp_path: Path) -> None:
    resumed = write(tmp_path, 100)
    for step in (200, 300):
        truncate(write(tmp_path, step))
    assert newest_valid(tmp_path, IDENTITY)[0] == resumed
    stopped = write(tmp_path, 150)
    rotate(tmp_path, keep=2, never=resumed)
    assert newest_valid(tmp_path, IDENTITY) == (stopped, [])


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 50), min_size=1, max_size=8, unique=True), st.integers(1, 4), st.integers(0, 7))
def test_rotation_keeps_the_newest_and_never_the_resumed(
    tmp_path_factory: pytest.TempPathFactory, numbers: list[int], keep: int, resumed: int
) -> None:
    root = tmp_path_factory.mktemp("rotate")
    numbers.sort()
    paths = [write(root, number) for number in numbers]
    never = paths[resumed] if resumed < len(paths) else None
    deleted = rotate(root, keep=keep, never=never)
    kept = [path for path in paths if path in paths[-keep:] or path == never]
    assert complete_checkpoints(root) == kept
    assert deleted == [path for path in paths if path not in kept]
    assert sorted(root.iterdir()) == kept
    assert rotate(root, keep=keep, never=never) == []


def test_links_are_never_followed(tmp_path: Path) -> None:
    elsewhere, root = tmp_path / "elsewhere", tmp_path / "checkpoints"
    other = write(elsewhere, 5)
    before = {file: file.read_bytes() for file in every_file(elsewhere)}
    write(root, 1)
    (root / directory_name(5)).symlink_to(other, target_is_directory=True)
    assert steps(root) == [1]
    assert newest_valid(root, IDENTITY) == (root / directory_name(1), [])
    assert rotate(root, keep=1) == []
    mine = write(root, 5)
    assert not mine.is_symlink()
    write(root, 6)
    rotate(root, keep=1)
    assert steps(root) == [6]
    assert {file: file.read_bytes() for file in every_file(elsewhere)} == before


def test_a_rank_that_is_not_the_writer_adds_its_files_only(tmp_path: Path) -> None:
    calls: list[str] = []

    def barrier() -> None:
        # What the writer does while this rank waits.
        calls.append("barrier")
        if len(calls) == 1:
            (tmp_path / ".partial-step-00000003").mkdir()

    write_checkpoint(
        tmp_path,
        step=3,
        identity=IDENTITY,
        save=lambda target: (target / "rank-1.pt").write_bytes(b"1") and None,
        barrier=barrier,
        is_writer=False,
    )
    assert len(calls) == 3
    assert [path.name for path in tmp_path.rglob("*")] == [".partial-step-00000003", "rank-1.pt"]


def test_an_empty_checkpoint_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no rank wrote a file"):
        write(tmp_path, 1, save=lambda target: None)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("call", ["fsync_file", "write_document", "write_atomic"])
def test_a_full_disk_while_sealing_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    write(tmp_path, 1)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(f"trackyard.train.checkpoint.{call}", full)
    with pytest.raises(CheckpointError, match="No space left"):
        write(tmp_path, 2)
    assert [path.name for path in tmp_path.iterdir()] == [directory_name(1)]
    assert newest_valid(tmp_path, IDENTITY) == (tmp_path / directory_name(1), [])


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", disk], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {mounted.stderr.decode().strip()}")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


def three_parts(error: CheckpointError, root: Path) -> None:
    assert str(root / directory_name(2)) in error.what
    assert "earlier checkpoints are untouched" in error.why
    assert f"df -h {root}" in error.fix


def test_a_full_disk_leaves_the_earlier_one(small_disk: Path) -> None:
    root = small_disk / "checkpoints"
    earlier = write(root, 1)
    with pytest.raises(CheckpointError, match="No space left on device") as caught:
        write(root, 2, save=lambda target: (target / "weights.pt").write_bytes(b"w" * 3_000_000) and None)
    three_parts(caught.value, root)
    assert newest_valid(root, IDENTITY) == (earlier, [])
    assert [path.name for path in root.iterdir()] == [earlier.name]
    write(root, 2)
    assert steps(root) == [1, 2], "with space again the same call succeeds"


def test_a_full_disk_seen_by_torch_is_the_same_error(small_disk: Path) -> None:
    import torch

    root = small_disk / "checkpoints"
    earlier = write(root, 1)
    with pytest.raises(CheckpointError) as caught:
        write(root, 2, save=lambda target: torch.save(torch.zeros(1_000_000), target / "weights.pt"))
    three_parts(caught.value, root)
    assert newest_valid(root, IDENTITY) == (earlier, [])
    assert [path.name for path in root.iterdir()] == [earlier.name]


def test_a_disk_that_turns_read_only_leaves_the_earlier_one(small_disk: Path) -> None:
    root = small_disk / "checkpoints"
    earlier = write(root, 1)
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with pytest.raises(CheckpointError, match="Read-only file system") as caught:
        write(root, 2)
    three_parts(caught.value, root)
    assert newest_valid(root, IDENTITY) == (earlier, [])
