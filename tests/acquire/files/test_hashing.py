import threading
from pathlib import Path

import pytest
from blake3 import blake3

from trackyard.acquire.files import hashing
from trackyard.acquire.files.hashing import BUFFER, CHUNK_FILES, SMALL, hash_files

SIZES = [0, 1, 1000, SMALL - 1, SMALL, SMALL + 1, BUFFER - 1, BUFFER, BUFFER + 1, 3 * BUFFER + 17]


def write(root: Path, sizes: list[int]) -> list[tuple[str, int]]:
    for number, size in enumerate(sizes):
        (root / f"{number}").write_bytes(number.to_bytes(4, "little") * (size // 4 + 1))
        with (root / f"{number}").open("r+b") as handle:
            handle.truncate(size)
    return [(f"{number}", size) for number, size in enumerate(sizes)]


@pytest.mark.parametrize("workers", [None, 1, 2, 7])
def test_digests_of_every_way_of_reading_come_in_order(tmp_path: Path, workers: int | None) -> None:
    files = write(tmp_path, SIZES)
    expected = [blake3((tmp_path / path).read_bytes()).hexdigest() for path, _ in files]
    assert hash_files(str(tmp_path), files, workers=workers) == expected
    assert hash_files(str(tmp_path), files[::-1], workers=workers) == expected[::-1]


def test_known_digest(tmp_path: Path) -> None:
    """Of the test vectors of BLAKE3: no bytes."""
    (tmp_path / "empty").touch()
    found = hash_files(str(tmp_path), [("empty", 0)])
    assert found == ["af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"]


def test_a_wrong_size_changes_the_way_of_reading_only(tmp_path: Path) -> None:
    files = write(tmp_path, SIZES)
    other = [(path, BUFFER if size < SMALL else 0) for path, size in files]
    assert hash_files(str(tmp_path), other) == hash_files(str(tmp_path), files)


@pytest.mark.parametrize("size", [10, BUFFER])
def test_what_cannot_be_read_has_its_error_in_its_place(tmp_path: Path, size: int) -> None:
    (tmp_path / "folder").mkdir()
    write(tmp_path, [100])
    folder, absent, whole = hash_files(str(tmp_path), [("folder", size), ("absent", size), ("0", 100)])
    assert isinstance(folder, OSError)
    assert isinstance(absent, FileNotFoundError)
    assert str(tmp_path / "absent") in str(absent)
    assert whole == blake3((tmp_path / "0").read_bytes()).hexdigest()


def test_nothing_to_hash(tmp_path: Path) -> None:
    assert hash_files(str(tmp_path), []) == []


def test_progress_ends_with_the_totals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashing, "POLL_S", 0.0001)
    files = write(tmp_path, [*SIZES, *[50] * CHUNK_FILES * 3])
    seen: list[tuple[int, int]] = []
    hash_files(str(tmp_path), files, progress=lambda done, size: seen.append((done, size)))
    assert seen[-1] == (len(files), sum(size for _, size in files))
    assert seen == sorted(seen)


def test_an_exception_of_the_caller_stops_the_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashing, "POLL_S", 0.0001)
    files = write(tmp_path, [50] * 20)
    many = files * 2000

    def stop(done: int, _: int) -> None:
        raise KeyboardInterrupt

    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        hash_files(str(tmp_path), many, progress=stop)
    assert threading.active_count() == before
