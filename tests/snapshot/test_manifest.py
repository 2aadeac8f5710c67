import json
from dataclasses import replace
from pathlib import Path

import pytest

from trackyard.digest import digest_file
from trackyard.errors import DataError
from trackyard.snapshot.manifest import RESTORE, FileEntry, Manifest

MANIFEST = Manifest(
    dataset="numbers",
    source={"hub": "org/numbers", "revision": "0" * 40},
    licence="CC-BY-4.0",
    splits={"train": 30, "validation": 2},
    files=(
        FileEntry("train/part-00000.parquet", 100, 20, "a" * 64),
        FileEntry("train/part-00001.parquet", 50, 10, "b" * 64),
        FileEntry("validation/part-00000.parquet", 9, 2, "c" * 64),
    ),
    exclusions={"unreadable image": 3},
)


def edit(directory: Path, **changes: object) -> None:
    path = directory / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    MANIFEST.write(tmp_path)
    found = Manifest.read(tmp_path)
    assert found == MANIFEST
    assert found.fingerprint == MANIFEST.fingerprint
    assert json.loads((tmp_path / "manifest.json").read_text())["schema"] == "trackyard-manifest/1"


def test_the_fingerprint_covers_every_field() -> None:
    changed = [
        replace(MANIFEST, dataset="others"),
        replace(MANIFEST, source={}),
        replace(MANIFEST, licence="?"),
        replace(MANIFEST, splits={"train": 30, "validation": 3}),
        replace(MANIFEST, files=(replace(MANIFEST.files[0], blake3="d" * 64), *MANIFEST.files[1:])),
        replace(MANIFEST, exclusions={}),
    ]
    assert len({MANIFEST.fingerprint, *(item.fingerprint for item in changed)}) == 7


def test_a_directory_without_a_manifest_is_no_dataset(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no manifest") as caught:
        Manifest.read(tmp_path)
    assert caught.value.fix == RESTORE


ENTRY = {"path": "train/part-00000.parquet", "bytes": 1, "rows": 1, "blake3": "a" * 64}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema": "trackyard-manifest/2"}, "trackyard-manifest/2"),
        ({"licence": None}, "licence"),
        ({"files": [{"path": "train/x"}]}, "files.0.bytes"),
        ({"files": [ENTRY | {"path": "train/../../secret"}], "splits": {"train": 1}}, "does not lie in"),
        ({"files": [ENTRY | {"path": "/etc/passwd"}], "splits": {"train": 1}}, "does not lie in"),
        ({"files": [ENTRY | {"path": "part.parquet"}], "splits": {"train": 1}}, "does not lie in"),
        ({"files": [ENTRY, ENTRY], "splits": {"train": 2}}, "listed twice"),
        ({"splits": {"train": 31, "validation": 2}}, "add up to"),
    ],
)
def test_a_manifest_that_is_wrong_is_refused(tmp_path: Path, changes: dict, message: str) -> None:
    MANIFEST.write(tmp_path)
    edit(tmp_path, **changes)
    with pytest.raises(DataError, match=message):
        Manifest.read(tmp_path)


def test_written_datasets_name_their_files(dataset: Path) -> None:
    manifest = Manifest.read(dataset)
    assert manifest.splits == {"train": 40, "validation": 5}
    for entry in manifest.files:
        assert digest_file(dataset / entry.path) == entry.blake3
