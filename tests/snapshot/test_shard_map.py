from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trackyard.digest import digest_file
from trackyard.errors import DataError
from trackyard.row import Media, Row, Turn
from trackyard.snapshot.columns import SCHEMA
from trackyard.snapshot.manifest import RESTORE, FileEntry, Manifest
from trackyard.snapshot.shard_map import COUNTS, ENTRY, HEAD, MAGIC, STRIDE, build_map, map_file, maps_directory
from trackyard.snapshot.writer import open_shard, write_dataset

SHARD = "train/part-00000.parquet"


def first_entry(directory: Path) -> FileEntry:
    return next(entry for entry in Manifest.read(directory).files if entry.path == SHARD)


def media_row(number: int, contents: list[bytes]) -> Row:
    media = tuple(Media(kind="image", data=data, path=f"{number}.png", width=1, height=1) for data in contents)
    turns = (Turn(role="user", content="é\0\n"), Turn(role="assistant", content="𝒳" * number))
    return Row(id=f"{number}", task="user_qa", media=media, conversations=(turns, turns))


CONTENTS = st.sampled_from([b"", b"\0", b"\0" * 40, b"ab" * 30, bytes(range(200))])


@settings(max_examples=12)
@given(st.lists(st.lists(CONTENTS, max_size=3), min_size=1, max_size=6))
def test_every_range_holds_its_medium(tmp_path_factory: pytest.TempPathFactory, contents: list[list[bytes]]) -> None:
    """Empty media, repeated ones and ones that look like lengths of others included."""
    directory = tmp_path_factory.mktemp("ranges") / "d"
    rows = [media_row(number, data) for number, data in enumerate(contents)]
    write_dataset(directory, {"train": rows}, dataset="d", source={}, licence="CC0-1.0")
    data = (directory / SHARD).read_bytes()
    found = build_map(directory / SHARD, first_entry(directory), RESTORE)
    assert HEAD.unpack_from(found) == (MAGIC, len(rows))
    for number, expected in enumerate(contents):
        start, _, end = ENTRY.unpack_from(found, HEAD.size + STRIDE * number)
        media, _ = COUNTS.unpack_from(found, start)
        ranges = memoryview(found)[start + COUNTS.size :][: 16 * media].cast("Q").tolist()
        assert [data[at : at + size] for at, size in zip(ranges[::2], ranges[1::2], strict=True)] == expected
        assert found[:end].endswith(("é\0\n" + "𝒳" * number).encode() * 2)


def test_the_same_shard_gives_the_same_map(dataset: Path) -> None:
    first, second = (build_map(dataset / SHARD, first_entry(dataset), RESTORE) for _ in range(2))
    assert first == second


def test_a_null_is_refused(dataset: Path) -> None:
    path = dataset / SHARD
    rows = pq.read_table(path).to_pylist()
    rows[1]["meta"] = None
    with open_shard(path) as shard:
        shard.write_table(pa.Table.from_pylist(rows, schema=SCHEMA))
    entry = FileEntry(path=SHARD, bytes=path.stat().st_size, rows=len(rows), blake3=digest_file(path))
    with pytest.raises(DataError, match="row 'row-00001' has a text that is null"):
        build_map(path, entry, RESTORE)


def test_a_file_of_another_size_is_not_mapped(dataset: Path) -> None:
    size = (dataset / SHARD).stat().st_size
    assert len(map_file(dataset / SHARD, size)) == size
    with pytest.raises(OSError, match=f"{size} bytes, expected {size + 1}"):
        map_file(dataset / SHARD, size + 1)


def test_maps_lie_where_the_user_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/scratch/me")
    assert maps_directory() == Path("/scratch/me/trackyard/shard-maps")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/elsewhere/me")
    assert maps_directory() == Path("/elsewhere/me/.cache/trackyard/shard-maps")
