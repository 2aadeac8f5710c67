import contextlib
import pickle
import random
import threading
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trackyard.digest import digest_file
from trackyard.errors import DataError
from trackyard.snapshot import shard, shard_map
from trackyard.snapshot.manifest import RESTORE, Manifest
from trackyard.snapshot.reader import SnapshotDataset, open_snapshot

FIRST, SHARD = "train/part-00000.parquet", "train/part-00001.parquet"


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def damage(path: Path, offset: int, data: bytes | None = None) -> None:
    """Overwrite bytes at `offset` (one bit is flipped where no data is given), size kept."""
    content = bytearray(path.read_bytes())
    new = data if data is not None else bytes([content[offset] ^ 0x10])
    content[offset : offset + len(new)] = new
    path.write_bytes(content)


def page_area(path: Path) -> tuple[int, int]:
    """Offsets between which a shard holds pages: after the magic, before the footer."""
    length = int.from_bytes(path.read_bytes()[-8:-4], "little")
    return 4, path.stat().st_size - 8 - length


def test_rows_come_back_as_written_in_any_order(dataset: Path, make_row) -> None:
    found = SnapshotDataset.open(dataset)
    assert (found.name, found.splits, found.rows("train"), found.rows("test")) == (
        "numbers",
        ("train", "validation"),
        40,
        0,
    )
    numbers = list(range(40))
    random.Random(0).shuffle(numbers)
    for number in numbers:
        assert found.row("train", number) == make_row(number)
    assert list(found.iterate("validation")) == [make_row(k) for k in range(40, 45)]


@pytest.mark.parametrize(("split", "number"), [("train", 40), ("train", -1), ("test", 0)])
def test_rows_that_do_not_exist(dataset: Path, split: str, number: int) -> None:
    with pytest.raises(IndexError, match=f"row {number} of numbers/{split}"):
        SnapshotDataset.open(dataset).row(split, number)


def test_opening_reads_no_shard(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a shard was opened")

    monkeypatch.setattr(pq, "ParquetFile", refuse)
    found = SnapshotDataset.open(dataset)
    with pytest.raises(AssertionError):
        found.row("train", 0)


def test_threads_read_the_same_rows(dataset: Path, make_row, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shard, "OPEN_SHARDS", 1)
    found = SnapshotDataset.open(dataset)
    wrong: list[int] = []

    def read(seed: int) -> None:
        source = random.Random(seed)
        for _ in range(60):
            number = source.randrange(40)
            if found.row("train", number).id != f"row-{number:05d}":
                wrong.append(number)

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def read_all(directory: Path) -> list[str]:
    return [row.id for row in SnapshotDataset.open(directory).iterate("train")]


def test_every_bit_flip_in_a_page_is_found(dataset: Path) -> None:
    path = dataset / SHARD
    whole = path.read_bytes()
    first, last = page_area(path)
    for seed in range(25):
        damage(path, random.Random(seed).randrange(first, last))
        with pytest.raises(DataError, match="part-00001") as caught:
            read_all(dataset)
        assert caught.value.fix == RESTORE
        path.write_bytes(whole)
    assert len(read_all(dataset)) == 40


def test_without_the_guard_flips_are_silent(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Negative control: the same flips, and a reader to which every digest is right."""

    class Agreeing(str):
        def __ne__(self, other: object) -> bool:
            return False

    class Trusting:
        def __init__(self, _: object) -> None: ...

        def hexdigest(self) -> str:
            return Agreeing()

    monkeypatch.setattr(shard_map, "blake3", Trusting)
    path = dataset / SHARD
    whole = path.read_bytes()
    first, last = page_area(path)
    silent = 0
    for seed in range(25):
        damage(path, random.Random(seed).randrange(first, last))
        monkeypatch.setenv("XDG_CACHE_HOME", str(dataset.parent / f"cache-{seed}"))
        with contextlib.suppress(DataError):
            silent += len(read_all(dataset)) == 40
        path.write_bytes(whole)
    assert silent >= 20


def test_damage_after_opening_is_found_too(dataset: Path) -> None:
    found = SnapshotDataset.open(dataset, restore="ask the owner")
    found.row("train", 0)
    path = dataset / SHARD
    first, last = page_area(path)
    damage(path, first, bytes(last - first))
    before, inside = (
        next(entry.rows for entry in found.manifest.files if entry.path == name) for name in (FIRST, SHARD)
    )
    numbers = range(before, before + inside)
    with pytest.raises(DataError, match="part-00001") as caught:
        found.row("train", numbers[0])
    assert caught.value.fix == "ask the owner"
    path.write_bytes(path.read_bytes()[: first + 2000])
    with pytest.raises(DataError, match="part-00001"):
        found.row("train", numbers[-1])
    path.unlink()
    with pytest.raises(DataError, match="part-00001"):
        found.row("train", numbers[-1])


def test_opening_lists_every_absent_and_cut_file(dataset: Path) -> None:
    (dataset / SHARD).unlink()
    path = dataset / "validation/part-00000.parquet"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError) as caught:
        SnapshotDataset.open(dataset)
    assert f"{SHARD}: absent" in caught.value.what
    assert "validation/part-00000.parquet: " in caught.value.what


@pytest.mark.parametrize("cut", ["footer", "magic"])
def test_a_damaged_footer_is_found(dataset: Path, cut: str) -> None:
    path = dataset / SHARD
    size = path.stat().st_size
    damage(path, page_area(path)[1] if cut == "footer" else size - 4, bytes(4))
    with pytest.raises(DataError, match="part-00001"):
        read_all(dataset)


def restate(directory: Path, name: str, **changes) -> Manifest:
    """The manifest with other statements about one file, by default the true ones about the bytes it has now."""
    path = directory / name
    now = {"bytes": path.stat().st_size, "blake3": digest_file(path)} | changes
    manifest = Manifest.read(directory)
    files = tuple(replace(entry, **now) if entry.path == name else entry for entry in manifest.files)
    return replace(manifest, files=files)


def test_a_shard_of_another_schema_is_refused(dataset: Path) -> None:
    pq.write_table(pa.table({"url": ["x"]}), dataset / SHARD)
    found = SnapshotDataset(dataset, restate(dataset, SHARD), RESTORE)
    with pytest.raises(DataError, match="'url'"):
        found.row("train", 20)


def test_a_shard_with_other_row_counts_is_refused(dataset: Path) -> None:
    found = SnapshotDataset(dataset, restate(dataset, FIRST, rows=3), RESTORE)
    with pytest.raises(DataError, match="expected 3 of"):
        found.row("train", 0)


def test_shards_whose_media_are_no_ranges_of_the_file_are_refused(dataset: Path) -> None:
    table = pq.read_table(dataset / FIRST)
    for options, problem in (({"compression": "zstd"}, "compressed"), ({"compression": "none"}, "not stored plain")):
        pq.write_table(table, dataset / FIRST, **options)
        with pytest.raises(DataError, match=problem):
            SnapshotDataset(dataset, restate(dataset, FIRST), RESTORE).row("train", 0)


def test_pickling_gives_the_same_dataset_and_sends_no_rows(dataset: Path, make_row) -> None:
    found = SnapshotDataset.open(dataset, restore="ask the owner")
    found.row("train", 0)
    sent = pickle.dumps(found)
    again = pickle.loads(sent)
    assert len(sent) < 3_000
    assert (again.directory, again.restore, again.manifest) == (dataset, "ask the owner", found.manifest)
    assert again.row("train", 39) == make_row(39)


def test_open_snapshot(dataset: Path, write, make_row) -> None:
    root = dataset.parent
    write(root / "letters", {"train": [make_row(0)]})
    (root / ".partial-other.1").mkdir()
    assert list(open_snapshot(root, None)) == ["letters", "numbers"]
    assert list(open_snapshot(root, ["numbers"])) == ["numbers"]
    assert open_snapshot(root, []) == {}


def test_what_is_missing_is_named_with_its_neighbour(dataset: Path) -> None:
    root = dataset.parent
    with pytest.raises(DataError, match="did you mean 'numbers'") as caught:
        open_snapshot(root, ["number"])
    assert "dvc pull" in caught.value.fix
    with pytest.raises(DataError, match=r"no snapshot in .*minj; did you mean 'mini'") as caught:
        open_snapshot(root.with_name("minj"), None)
    assert caught.value.fix == "dvc pull data.dvc"
    with pytest.raises(DataError, match="no snapshot in"):
        open_snapshot(root / "a/b/c", None)


def test_shards_that_lost_their_manifest_are_not_left_out_silently(dataset: Path, write, make_row) -> None:
    write(dataset.parent / "letters", {"train": [make_row(0)]})
    (dataset.parent / "letters/manifest.json").unlink()
    with pytest.raises(DataError, match="letters is not a dataset"):
        open_snapshot(dataset.parent, None)
    assert list(open_snapshot(dataset.parent, ["numbers"])) == ["numbers"]
