"""The lock: what is written is read again, and nothing damaged is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from trackyard.errors import DataError
from trackyard.record.image_lock import IMAGE_LOCK, ImageLock, Locked, read_lock, write_lock

ROOT = Path(__file__).resolve().parents[2]
ENTRY: dict[str, Any] = {
    "file": "a.sif", "def_sha256": "1" * 64, "build_args": {"A": "b"},
    "base": {"name": "debian", "digest": "sha256:" + "2" * 64}, "sif_sha256": "3" * 64, "sif_bytes": 5,
    "apptainer_version": "1.4.5", "package_lock_sha256": "4" * 64, "cuda": None, "driver_min": None,
    "sbom": "containers/a.sbom.json", "packages": "containers/a.packages.txt", "created": "2026-01-02T03:04:05Z",
}  # fmt: skip


def test_what_is_written_is_read(tmp_path: Path) -> None:
    lock = ImageLock(images={name: Locked.model_validate(ENTRY) for name in ("b", "a")})
    write_lock(tmp_path, lock)
    assert read_lock(tmp_path) == lock
    assert list(json.loads((tmp_path / IMAGE_LOCK).read_text())["images"]) == ["a", "b"]
    assert lock.images["a"].digest == "sha256:" + "3" * 64


def test_the_lists_that_the_lock_of_this_repository_names_are_here() -> None:
    locked = read_lock(ROOT).images.values()
    assert not [name for one in locked for name in (one.sbom, one.packages) if not (ROOT / name).is_file()]


@pytest.mark.parametrize(
    ("field", "value"),
    [("sif_sha256", "3" * 63), ("sif_sha256", None), ("sif_bytes", 0), ("file", "../a.sif"), ("file", "/a.sif"),
     ("base", {"name": "debian", "digest": "bookworm"}), ("more", 1)],
)  # fmt: skip
def test_a_damaged_entry_is_named(tmp_path: Path, field: str, value: object) -> None:
    (tmp_path / "containers").mkdir()
    body = {"schema": "trackyard-image-lock/1", "images": {"a": ENTRY | {field: value}}}
    (tmp_path / IMAGE_LOCK).write_text(json.dumps(body))
    with pytest.raises(DataError, match=rf"images\.a\.{field}") as raised:
        read_lock(tmp_path)
    assert "git checkout" in raised.value.fix


def test_no_lock_and_one_of_another_version(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        read_lock(tmp_path)
    (tmp_path / "containers").mkdir()
    (tmp_path / IMAGE_LOCK).write_text('{"schema": "trackyard-image-lock/2", "images": {}}')
    with pytest.raises(DataError, match="expected 'trackyard-image-lock/1'"):
        read_lock(tmp_path)
