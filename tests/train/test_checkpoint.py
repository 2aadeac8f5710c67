"""Checkpoint directories: complete or invisible, every damage found and named, the newest sound one is found."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.train.newest import newest_valid
from trackyard.digest import digest_file
from trackyard.errors import CheckpointError
from trackyard.train.checkpoint import (
    COMPLETE,
    MANIFEST,
    Manifest,
    StoredFile,
    complete_checkpoints,
    directory_name,
    partial_directory,
    read_manifest,
    remove_unfinished,
    seal,
    step_of,
    verify_checkpoint,
)

IDENTITY = {"run_id": "abc", "plan": "f00"}
FILES = {"state/weights.pt": b"w" * 1000, "state/moments.pt": bytes(range(256)) * 3, "rank-0.json": b"{}"}


def write(root: Path, step: int, score: float | None = None) -> Path:
    """A sealed checkpoint of arbitrary files."""
    partial, final = partial_directory(root, step, "t.1"), root / directory_name(step)
    files = []
    for name, data in FILES.items():
        path = partial / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data + str(step).encode())
        files.append(StoredFile(path=name, bytes=path.stat().st_size, blake3=digest_file(path)))
    manifest = Manifest(
        step=step, identity=IDENTITY, score=score, host_state={}, tensors={"w": (3,)}, files=tuple(files)
    )
    seal(partial, final, manifest)
    return final


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
    assert manifest["schema"] == "trackyard-checkpoint/2"
    assert {entry["path"] for entry in manifest["files"]} == set(FILES)
    assert sorted(path.name for path in root.iterdir()) == [directory_name(step) for step in (2, 10, 100)]


@pytest.mark.parametrize(("name", "step"), [("step-00000007", 7), ("step-7", None), (".partial-step-00000007", None)])
def test_names(name: str, step: int | None) -> None:
    assert step_of(Path("x") / name) == step


def test_half_written_ones_are_invisible_and_removed(tmp_path: Path) -> None:
    write(tmp_path, 1)
    shutil.copytree(tmp_path / directory_name(1), tmp_path / directory_name(2))
    (tmp_path / directory_name(2) / COMPLETE).unlink()
    (tmp_path / directory_name(5)).write_text("a file, not a directory")
    (tmp_path / ".partial-step-00000003.t.1").mkdir()
    (tmp_path / ".partial-step-00000003.t.1" / "weights.pt").write_bytes(b"half")
    assert newest_valid(tmp_path, IDENTITY) == (tmp_path / directory_name(1), [])
    remove_unfinished(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [directory_name(1)]


@pytest.mark.parametrize("killed_at", ["write_document", "os.replace", "write_atomic"])
def test_a_death_while_sealing_leaves_the_earlier_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed_at: str
) -> None:
    write(tmp_path, 1)

    def die(*_: object) -> None:
        raise KeyboardInterrupt  # not caught: as far as the files go, like a kill

    with monkeypatch.context() as patch:
        patch.setattr(f"trackyard.train.checkpoint.{killed_at}", die)
        with pytest.raises(KeyboardInterrupt):
            write(tmp_path, 2)
    assert newest_valid(tmp_path, IDENTITY) == (tmp_path / directory_name(1), [])
    remove_unfinished(tmp_path)
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
    write(tmp_path, 2)
    assert newest_valid(tmp_path, IDENTITY) == (tmp_path / directory_name(2), [])


def test_the_pickled_form_is_refused_with_the_reason(tmp_path: Path) -> None:
    path = write(tmp_path, 1)
    manifest = json.loads((path / MANIFEST).read_text())
    (path / MANIFEST).write_text(json.dumps(manifest | {"schema": "trackyard-checkpoint/1"}))
    (path / COMPLETE).write_text(digest_file(path / MANIFEST))
    with pytest.raises(CheckpointError, match="this version reads trackyard-checkpoint/2") as caught:
        read_manifest(path, IDENTITY)
    assert "could execute what is in it" in caught.value.why
    assert newest_valid(tmp_path, IDENTITY)[0] is None


def test_what_is_not_there_or_not_complete_is_an_error_when_it_was_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="there is no checkpoint") as caught:
        read_manifest(tmp_path / directory_name(4), IDENTITY)
    assert str(tmp_path) in caught.value.fix
    (tmp_path / directory_name(4)).mkdir()
    with pytest.raises(CheckpointError, match="is not a complete checkpoint"):
        verify_checkpoint(tmp_path / directory_name(4), IDENTITY)
    sound = write(tmp_path / "elsewhere", 5)
    (tmp_path / directory_name(5)).symlink_to(sound, target_is_directory=True)
    with pytest.raises(CheckpointError, match="is not a complete checkpoint"):
        read_manifest(tmp_path / directory_name(5), IDENTITY)


def test_links_are_never_followed(tmp_path: Path) -> None:
    elsewhere, root = tmp_path / "elsewhere", tmp_path / "checkpoints"
    other = write(elsewhere, 5)
    before = {file: file.read_bytes() for file in every_file(elsewhere)}
    write(root, 1)
    (root / directory_name(5)).symlink_to(other, target_is_directory=True)
    assert steps(root) == [1]
    assert newest_valid(root, IDENTITY) == (root / directory_name(1), [])
    mine = write(root, 5)
    assert not mine.is_symlink()
    assert {file: file.read_bytes() for file in every_file(elsewhere)} == before


def test_an_empty_checkpoint_is_an_error(tmp_path: Path) -> None:
    manifest = Manifest(step=1, identity=IDENTITY, score=None, host_state={}, tensors={}, files=())
    with pytest.raises(OSError, match="no rank wrote a file"):
        seal(tmp_path / "partial", tmp_path / directory_name(1), manifest)
