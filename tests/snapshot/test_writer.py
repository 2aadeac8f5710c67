import subprocess
import sys
import tracemalloc
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from trackyard.errors import DataError
from trackyard.snapshot import writer
from trackyard.snapshot.reader import SnapshotDataset


def groups(directory: Path) -> list[int]:
    sizes = []
    for path in sorted(directory.rglob("*.parquet")):
        footer = pq.read_metadata(path)
        sizes += [footer.row_group(i).num_rows for i in range(footer.num_row_groups)]
    return sizes


def test_several_shards(tmp_path: Path, write, make_row, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "ROWS_WITH_IMAGES", 4)
    manifest = write(tmp_path / "d", {"train": map(make_row, range(22))}, shard_bytes=10_000)
    assert [(entry.path, entry.rows) for entry in manifest.files] == [
        ("train/part-00000.parquet", 8),
        ("train/part-00001.parquet", 8),
        ("train/part-00002.parquet", 6),
    ]
    ids = [row.id for row in SnapshotDataset.open(tmp_path / "d").iterate("train")]
    assert ids == [f"row-{k:05d}" for k in range(22)]


def test_row_groups_hold_at_most_256_rows_and_32_with_a_video(tmp_path: Path, write, make_row) -> None:
    write(tmp_path / "images", {"train": (make_row(k, size=1) for k in range(600))})
    assert groups(tmp_path / "images") == [256, 256, 88]
    write(tmp_path / "clips", {"train": (make_row(k, size=1, videos=1) for k in range(70))})
    assert groups(tmp_path / "clips") == [32, 32, 6]
    late = (make_row(k, size=1, videos=int(k == 100)) for k in range(300))
    write(tmp_path / "late", {"train": late})
    assert groups(tmp_path / "late") == [100, 32, 168]


def test_row_groups_are_bounded_in_bytes(tmp_path: Path, write, make_row) -> None:
    write(tmp_path / "d", {"train": (make_row(k, size=3_000_000) for k in range(5))})
    assert groups(tmp_path / "d") == [2, 2, 1]


def test_memory_stays_that_of_a_few_row_groups(tmp_path: Path, write, make_row) -> None:
    tracemalloc.start()
    write(tmp_path / "d", {"train": (make_row(k, size=1_000_000) for k in range(60))})
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 25_000_000  # of 60 MB


def test_media_are_stored_as_they_are_and_pages_carry_checksums(dataset: Path) -> None:
    path = dataset / "train/part-00000.parquet"
    group = pq.read_metadata(path).row_group(0)
    codecs = {group.column(i).path_in_schema: group.column(i).compression for i in range(group.num_columns)}
    assert codecs["media.list.element.bytes"] == "UNCOMPRESSED"
    assert codecs["meta"] == "ZSTD"
    assert {name for name, codec in codecs.items() if codec == "ZSTD"} == writer.COMPRESSION.keys() - {
        "media.list.element.bytes"
    }


def test_the_same_rows_give_the_same_bytes(tmp_path: Path, write, make_row) -> None:
    first, second = (write(tmp_path / f"{k}/d", {"train": map(make_row, range(9))}) for k in range(2))
    assert first == second
    other = write(tmp_path / "other/d", {"train": map(make_row, range(8))})
    assert other.fingerprint != first.fingerprint


def test_an_empty_split_has_no_folder(tmp_path: Path, write, make_row) -> None:
    manifest = write(tmp_path / "d", {"train": [make_row(0)], "validation": []})
    assert manifest.splits == {"train": 1}
    assert not (tmp_path / "d/validation").exists()


def left(directory: Path) -> list[Path]:
    return list(directory.rglob("*"))


def test_no_row_at_all_is_an_error_that_counts_what_was_left_out(tmp_path: Path, write) -> None:
    with pytest.raises(DataError, match="80 media file missing"):
        write(tmp_path / "d", {"train": []}, exclusions={"media file missing": 80})
    assert left(tmp_path) == []


def test_an_id_names_one_row_of_the_dataset(tmp_path: Path, write, make_row) -> None:
    with pytest.raises(DataError, match="'row-00003' occurs twice"):
        write(tmp_path / "d", {"train": map(make_row, range(5)), "validation": [make_row(3)]})
    assert left(tmp_path) == []


def test_a_stream_that_fails_leaves_nothing(tmp_path: Path, write, make_row) -> None:
    def rows():
        yield make_row(0)
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        write(tmp_path / "d", {"train": rows()})
    assert left(tmp_path) == []


def test_a_dataset_is_never_overwritten(dataset: Path, write, make_row) -> None:
    before = (dataset / "manifest.json").read_bytes()
    with pytest.raises(DataError, match="exists already"):
        write(dataset, {"train": [make_row(0)]})
    assert (dataset / "manifest.json").read_bytes() == before


@pytest.mark.parametrize("split", ["../train", "", "a/b", ".partial-x"])
def test_a_split_is_a_folder_of_the_dataset(tmp_path: Path, write, make_row, split: str) -> None:
    with pytest.raises(DataError, match="split"):
        write(tmp_path / "d", {split: [make_row(0)]})


def test_exclusions_are_read_after_the_last_row(tmp_path: Path, write, make_row) -> None:
    counted: dict[str, int] = {}

    def rows():
        yield make_row(0)
        counted["no answer"] = 2

    assert write(tmp_path / "d", {"train": rows()}, exclusions=counted).exclusions == {"no answer": 2}


def test_a_row_beyond_the_reader_is_refused(tmp_path: Path, write, make_row, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "MAX_ROW_BYTES", 1999)
    with pytest.raises(DataError, match="2,000 bytes of media"):
        write(tmp_path / "d", {"train": [make_row(0)]})


def test_stock_datasets_reads_the_shards(dataset: Path, tmp_path: Path) -> None:
    """In a process of its own: importing `datasets` takes seconds and leaves threads behind."""
    code = """
import sys, datasets
found = datasets.load_dataset("parquet", data_files=sys.argv[1] + "/*.parquet", cache_dir=sys.argv[2], split="train")
row = found[7]
assert len(found) == 40 and row["id"] == "row-00007", row["id"]
assert len(row["media"][0]["bytes"]) == 2000 and row["media"][0]["width"] == 640
assert row["conversations"][0][1] == {"role": "assistant", "content": "7"}
print("read")
"""
    argv = [sys.executable, "-c", code, str(dataset / "train"), str(tmp_path / "cache")]
    environment = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "home"), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(argv, capture_output=True, text=True, env=environment, check=False)
    assert done.stdout.strip() == "read", done.stderr[-2000:]
