"""What a fast verification sees, what it says that it cannot see, and how a stopped one goes on."""

import json
import os
import time
from pathlib import Path

import pytest

from trackyard.acquire.files import hashing, stat_cache
from trackyard.acquire.files import proof as file_proof
from trackyard.acquire.files.proof import FilesReport, verify_files
from trackyard.acquire.files.stat_cache import SAMPLE, place_of, stamp
from trackyard.acquire.files.tree import FileManifest, manifest_of

COUNT = 90


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(stat_cache, "RACY_NS", 0)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    root.mkdir()
    for number in range(COUNT):
        (root / f"{number:03}").write_bytes(bytes([number]) * 100)
    manifest_of(root, name="tree", source={}).write(root)
    return root


def rot(file: Path, root: Path) -> None:
    """Flip a bit as a device does, behind the file system: nothing that `stat` tells is another."""
    damaged = bytearray(file.read_bytes())
    damaged[50] ^= 4
    file.write_bytes(damaged)
    body = json.loads(place_of(root).read_text())
    path = str(file.relative_to(root))
    digest = body["known"][path].split(" ")[-1]
    body["known"][path] = f"{stamp(file.stat())} {digest}"
    place_of(root).write_text(json.dumps(body))


def paths(report: FilesReport) -> list[str]:
    return [changed.path for changed in report.changed]


def test_fast_trusts_what_was_proved_and_says_so(tree: Path) -> None:
    full = verify_files(tree)
    assert (full.hashed, full.trusted, full.notes) == (COUNT, 0, ())
    fast = verify_files(tree, mode="fast")
    assert fast.ok
    assert (fast.examined, fast.hashed, fast.trusted) == (COUNT, COUNT // SAMPLE, COUNT - COUNT // SAMPLE)
    assert fast.notes[0].startswith(f"{fast.trusted} files were trusted by size, times and inode, not read")
    assert "full verification" in fast.notes[0]


def test_fast_without_an_earlier_proof_reads_everything(tree: Path) -> None:
    assert verify_files(tree, mode="fast").hashed == COUNT
    assert verify_files(tree, mode="fast").hashed == COUNT // SAMPLE


def test_rot_is_seen_by_full_and_by_the_sample_in_turn(tree: Path) -> None:
    verify_files(tree)
    rot(tree / "007", tree)
    turns = [verify_files(tree, mode="fast") for _ in range(SAMPLE)]
    assert next(turn for turn, report in enumerate(turns) if not report.ok) == 7 % SAMPLE
    assert all(report.ok for report in turns[:7])  # the negative control: trusted, and said to be
    assert paths(turns[7]) == ["007"]
    assert paths(turns[8]) == ["007"], "a file that was found bad is not trusted again"
    assert paths(verify_files(tree)) == ["007"]


def test_full_finds_rot_at_once(tree: Path) -> None:
    verify_files(tree)
    rot(tree / "029", tree)
    assert verify_files(tree, mode="fast").ok
    found = verify_files(tree)
    assert paths(found) == ["029"]
    assert "blake3" in found.changed[0].expected
    assert found.changed[0].found != found.changed[0].expected


@pytest.mark.parametrize("shift_s", [-86_400, 86_400, 10 * 365 * 86_400])
def test_times_that_moved_cause_one_reading_not_a_storm(tree: Path, shift_s: int) -> None:
    verify_files(tree)
    for file in tree.iterdir():
        status = file.stat()
        os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns + shift_s * 10**9))
    assert verify_files(tree, mode="fast").hashed == COUNT
    assert verify_files(tree, mode="fast").hashed == COUNT // SAMPLE


def test_a_clock_that_jumped_back_trusts_nothing_new(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    verify_files(tree)
    now = time.time_ns()
    monkeypatch.setattr(time, "time_ns", lambda: now - 10**15)
    monkeypatch.setattr(stat_cache, "RACY_NS", 2_000_000_000)
    assert verify_files(tree, mode="fast").hashed == COUNT // SAMPLE
    (tree / "050").write_bytes(b"other")
    assert paths(verify_files(tree, mode="fast")) == ["050"]


def test_a_file_that_is_just_being_written_is_not_remembered(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stat_cache, "RACY_NS", 3600 * 10**9)
    verify_files(tree)
    assert verify_files(tree, mode="fast").hashed == COUNT


def test_another_record_is_not_proved_by_the_old_one(tree: Path) -> None:
    """Files as before, but the record now asks for other bytes."""
    verify_files(tree)
    manifest = FileManifest.read(tree)
    swapped = (manifest.files[1], manifest.files[0])
    files = tuple(type(a)(a.path, a.bytes, b.blake3) for a, b in zip(manifest.files[:2], swapped, strict=True))
    other = FileManifest(name="tree", source={}, files=files + manifest.files[2:])
    assert paths(verify_files(tree, mode="fast", manifest=other)) == ["000", "001"]


def test_nothing_examined_is_a_failure(tmp_path: Path) -> None:
    empty = FileManifest(name="nothing", source={}, files=())
    for mode in ("fast", "full"):
        report = verify_files(tmp_path / "absent", mode=mode, manifest=empty)
        assert not report.ok
        assert report.problems() == ["no file was examined: the record lists none"]


def test_a_directory_that_is_gone_has_lost_every_file(tree: Path, tmp_path: Path) -> None:
    manifest = FileManifest.read(tree)
    report = verify_files(tmp_path / "elsewhere", manifest=manifest)
    assert len(report.missing) == COUNT
    assert (report.ok, report.examined) == (False, 0)


def test_a_linked_file_is_proved_through_its_link(tree: Path, tmp_path: Path) -> None:
    """As DVC links its cache."""
    (tree / "003").rename(tmp_path / "object")
    (tree / "003").symlink_to(tmp_path / "object")
    assert verify_files(tree).ok
    (tmp_path / "object").write_bytes(b"damaged")
    assert paths(verify_files(tree, mode="fast")) == ["003"]


def test_the_cache_lies_outside_and_its_loss_only_costs_time(tree: Path, tmp_path: Path) -> None:
    verify_files(tree)
    assert place_of(tree).is_relative_to(tmp_path / "cache")
    assert len(list(tree.iterdir())) == COUNT + 1
    for damage in (b"", b"{}", b"\xff", b'{"schema": "trackyard-proved/1", "known": [1]}'):
        place_of(tree).write_bytes(damage)
        assert verify_files(tree, mode="fast").hashed == COUNT
        assert verify_files(tree, mode="fast").hashed == COUNT // SAMPLE


def test_a_cache_that_cannot_be_written_is_named(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    report = verify_files(tree, cache=tmp_path / "file" / "cache.json")
    assert report.ok
    assert "could not be written" in report.notes[0]


def test_a_stopped_verification_goes_on_fast(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_proof, "ROUND_BYTES", 1000)
    monkeypatch.setattr(hashing, "POLL_S", 0.0001)
    seen = []

    def stop(files: int, size: int) -> None:
        seen.append((files, size))
        if files >= COUNT // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        verify_files(tree, progress=stop)
    assert seen == sorted(seen)
    report = verify_files(tree, mode="fast")
    assert report.ok
    assert report.trusted >= COUNT // 3
    assert report.hashed < COUNT


def test_a_file_found_bad_before_a_stop_is_not_trusted_after(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    verify_files(tree)
    rot(tree / "002", tree)
    monkeypatch.setattr(file_proof, "ROUND_BYTES", 1000)

    def stop(files: int, size: int) -> None:
        if files > 40:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        verify_files(tree, progress=stop)
    assert paths(verify_files(tree, mode="fast")) == ["002"]
