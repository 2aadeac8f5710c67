import random
from functools import partial
from pathlib import Path

import pytest

from trackyard.errors import DataError, EnvironmentLacking
from trackyard.snapshot import shard as shard_module
from trackyard.snapshot.manifest import RESTORE
from trackyard.snapshot.reader import SnapshotDataset
from trackyard.snapshot.shard_map import maps_directory

FIRST = "train/part-00000.parquet"


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def mapped(dataset: Path) -> Path:
    """The dataset, its maps made."""
    list(SnapshotDataset.open(dataset).iterate("train"))
    return dataset


def map_of(dataset: Path) -> Path:
    entry = SnapshotDataset.open(dataset).manifest.files[0]
    return maps_directory() / f"{entry.blake3}.map"


def flip(path: Path, offset: int) -> None:
    content = bytearray(path.read_bytes())
    content[offset] ^= 1 << offset % 8
    path.write_bytes(content)


def test_a_record_is_the_row_and_its_media_are_not_copied(mapped: Path, make_row) -> None:
    found = SnapshotDataset.open(mapped).record("train", 3)
    row = make_row(3)
    assert (found.id, found.task, found.contents) == (row.id, row.task, ["Which number? é 3", "3", "", ""])
    assert [bytes(view) for view in found.media] == [medium.data for medium in row.media]
    assert found.media[0].readonly
    assert found.row() == row


def test_a_map_that_is_there_is_not_made_again(mapped: Path, make_row, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shard_module, "build_map", None)
    assert SnapshotDataset.open(mapped).row("train", 7) == make_row(7)


def test_a_flip_in_any_medium_stops_the_reader_also_with_a_map(mapped: Path) -> None:
    path = mapped / FIRST
    whole = path.read_bytes()
    row = SnapshotDataset.open(mapped).row("train", 2)
    start = whole.index(row.media[0].data)
    for seed in range(10):
        flip(path, start + random.Random(seed).randrange(len(row.media[0].data)))
        found = SnapshotDataset.open(mapped, restore="ask the owner")
        assert found.row("train", 1).id == "row-00001"
        with pytest.raises(DataError, match=r"blake3 .*, expected") as caught:
            found.row("train", 2)
        assert caught.value.fix == "ask the owner"
        path.write_bytes(whole)


def test_a_row_is_checked_when_it_is_first_read(mapped: Path) -> None:
    """Of two rows that change in place, under the same inode, the one that was not read yet is found."""
    found = SnapshotDataset.open(mapped)
    whole = (mapped / FIRST).read_bytes()
    starts = [whole.index(found.row("train", number).media[0].data) for number in (1, 2)]
    found = SnapshotDataset.open(mapped)
    found.row("train", 1)
    with open(mapped / FIRST, "r+b") as handle:
        for start in starts:
            handle.seek(start + 7)
            handle.write(b"damage")
    assert b"damage" in found.row("train", 1).media[0].data, "the limit of the promise"
    with pytest.raises(DataError, match="blake3"):
        found.row("train", 2)


def test_no_damage_ever_gives_another_row(mapped: Path, make_row) -> None:
    """Flips anywhere in the file, footer and packed texts included: the planned rows, or an error."""
    path = mapped / FIRST
    whole = path.read_bytes()
    count = SnapshotDataset.open(mapped).manifest.files[0].rows
    stopped = 0
    for seed in range(12):
        flip(path, random.Random(seed).randrange(len(whole)))
        found = SnapshotDataset.open(mapped)
        for number in range(count):
            try:
                assert found.row("train", number) == make_row(number)
            except DataError:
                stopped += 1
        path.write_bytes(whole)
    assert stopped, "most of a file are media"


def test_a_damaged_map_is_replaced(mapped: Path, make_row, monkeypatch: pytest.MonkeyPatch) -> None:
    path = map_of(mapped)
    whole = path.read_bytes()
    count = SnapshotDataset.open(mapped).manifest.files[0].rows
    damages = [partial(flip, path, offset) for offset in random.Random(0).sample(range(len(whole)), 12)]
    damages += [path.unlink, partial(path.write_bytes, b""), partial(path.write_bytes, whole[:40])]
    for damage in damages:
        damage()
        found = SnapshotDataset.open(mapped)
        assert [found.row("train", number) for number in range(count)] == [make_row(k) for k in range(count)]
        assert path.read_bytes()[: len(whole)] == whole


@pytest.mark.parametrize("kind", ["absent", "cut", "replaced"])
def test_other_damage_at_first_touch(mapped: Path, kind: str) -> None:
    path = mapped / FIRST
    whole = path.read_bytes()
    found = SnapshotDataset.open(mapped)
    path.unlink()
    if kind != "absent":
        path.write_bytes(whole[:-1] if kind == "cut" else bytes(len(whole)))
    with pytest.raises(DataError, match="part-00000"):
        found.row("train", 0)
    path.write_bytes(whole)
    assert found.row("train", 0).id == "row-00000", "once it is restored, the same dataset reads it"


def test_few_shards_stay_open(mapped: Path, make_row, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shard_module, "OPEN_SHARDS", 1)
    shard_module._recent.clear()
    found = SnapshotDataset.open(mapped)
    view = found.record("train", 0).media[0]
    assert found.row("train", 39) == make_row(39)
    assert sum(shard._opened is not None for shard in found._shards["train"]) == 1
    assert bytes(view) == make_row(0).media[0].data, "a view outlives the closing of its file"
    assert found.row("train", 0) == make_row(0)


def test_maps_that_cannot_be_kept_are_said(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(EnvironmentLacking, match="cannot be kept") as caught:
        SnapshotDataset.open(dataset, restore=RESTORE).row("train", 0)
    assert "export XDG_CACHE_HOME=" in caught.value.fix
