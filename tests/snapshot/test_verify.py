import json
import random
import shutil
from pathlib import Path

import pytest

from trackyard.digest import digest_file
from trackyard.errors import DataError
from trackyard.snapshot.manifest import RESTORE, Manifest
from trackyard.snapshot.verify import verify_dataset

SHARD = "train/part-00001.parquet"


def test_a_whole_dataset_is_proved(dataset: Path) -> None:
    found = verify_dataset(dataset)
    manifest = Manifest.read(dataset)
    assert (found.dataset, found.files, found.rows) == ("numbers", len(manifest.files), 45)
    assert found.bytes == sum(path.stat().st_size for path in dataset.rglob("*.parquet"))


def test_every_flip_anywhere_is_found(dataset: Path) -> None:
    path = dataset / SHARD
    whole = path.read_bytes()
    for seed in range(40):
        content = bytearray(whole)
        content[random.Random(seed).randrange(len(content))] ^= 1 << seed % 8
        path.write_bytes(content)
        with pytest.raises(DataError, match="part-00001"):
            verify_dataset(dataset)
    path.write_bytes(whole)
    verify_dataset(dataset)


@pytest.mark.parametrize(
    "damage",
    {
        "truncated": lambda data: data[:-1],
        "trailing garbage": lambda data: data + b"x",
        "zero length": lambda data: b"",
        "zeroed page": lambda data: data[:100] + bytes(500) + data[600:],
    }.items(),
    ids=lambda item: item[0],
)
def test_other_damage_is_found_with_both_digests(dataset: Path, damage) -> None:
    path = dataset / SHARD
    expected = digest_file(path)
    path.write_bytes(damage[1](path.read_bytes()))
    with pytest.raises(DataError) as caught:
        verify_dataset(dataset)
    assert expected in caught.value.what
    assert digest_file(path) in caught.value.what
    assert caught.value.fix == RESTORE


def test_all_failing_files_are_listed(dataset: Path) -> None:
    paths = sorted(dataset.rglob("*.parquet"))
    for path in paths[1:]:
        path.write_bytes(b"x" * path.stat().st_size)
    paths[0].unlink()
    shutil.copy(paths[1], dataset / "train/part-00009.parquet")
    with pytest.raises(DataError) as caught:
        verify_dataset(dataset, restore="restore it")
    assert caught.value.what.count("\n") == len(paths)  # one line each, and one for the stranger
    assert all(str(path) in caught.value.what for path in paths)
    assert "part-00009.parquet: not in the manifest" in caught.value.what
    assert caught.value.fix == "restore it"


def rewrite(directory: Path, change) -> None:
    path = directory / "manifest.json"
    body = json.loads(path.read_text())
    change(body)
    path.write_text(json.dumps(body))


def test_row_counts_come_from_the_footers(dataset: Path) -> None:
    def one_more(body: dict) -> None:
        body["files"][0]["rows"] += 1
        body["splits"]["train"] += 1

    rewrite(dataset, one_more)
    with pytest.raises(DataError, match="the manifest says"):
        verify_dataset(dataset)


def test_a_check_that_examined_nothing_fails(dataset: Path) -> None:
    rewrite(dataset, lambda body: body.update(files=[], splits={}))
    for path in dataset.rglob("*.parquet"):
        path.unlink()
    with pytest.raises(DataError, match="lists no files"):
        verify_dataset(dataset)
