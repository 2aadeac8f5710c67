"""Parquet files that nobody vouches for: refused as a whole, or counted by row (reliability spec F7)."""

import tracemalloc
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trackyard.acquire.importing import tables
from trackyard.acquire.importing.mapping import ImportMapping
from trackyard.acquire.importing.records import Only, UnusableRecord
from trackyard.acquire.importing.tables import read_table, table_groups
from trackyard.errors import DataError

MAPPING = ImportMapping.model_validate(
    {"dataset": "own", "licence": "x", "task": "user_qa", "source": "a.parquet", "question": "q", "answer": "qa.answer"}
)


def write(path: Path, rows: int = 10, *, group: int = 4, **columns: Any) -> Path:
    table = pa.table(
        {"q": [f"q{k}" for k in range(rows)], "qa": [{"answer": f"a{k}"} for k in range(rows)], "z": [b"z" * 9] * rows}
        | columns
    )
    pq.write_table(table, path, row_group_size=group, write_page_checksum=True)
    return path


def test_rows_are_numbered_within_the_whole_file(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet")
    everything = list(read_table(path, MAPPING))
    assert [number for number, _ in everything] == list(range(1, 11))
    assert everything[9][1] == {"q": "q9", "qa": {"answer": "a9"}}  # z is not read
    assert list(read_table(path, MAPPING, groups=range(1, 2))) == everything[4:8]
    assert [(group.rows, group.first) for group in table_groups(path, MAPPING)] == [(4, 0), (4, 4), (2, 8)]
    only = Only("q", lambda value: value in ("q2", "q7"))
    assert list(read_table(path, MAPPING, only=only)) == [everything[2], everything[7]]


@pytest.mark.parametrize("cut", [4, 20, 200])
def test_a_cut_footer_is_refused(tmp_path: Path, cut: int) -> None:
    path = write(tmp_path / "a.parquet")
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(DataError, match=r"a\.parquet cannot be read as Parquet"):
        list(read_table(path, MAPPING))


def test_flipped_bits_in_a_page_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", rows=2000, group=2000, q=[f"{k}" * 20 for k in range(2000)])
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match="cannot be read"):
        list(read_table(path, MAPPING))


def test_a_missing_column_is_named_with_those_that_are_there(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"question": ["x"], "qa": [{"reply": "y"}]}), path)
    with pytest.raises(DataError) as caught:
        list(read_table(path, MAPPING))
    assert str(path) in caught.value.what
    assert "no column 'q'; its columns are question, qa.reply" in caught.value.what
    inner = MAPPING.model_copy(update={"question": "question"})
    with pytest.raises(DataError, match=r"no column 'qa\.answer'"):
        table_groups(path, inner)


def test_invalid_utf8_costs_one_row_and_names_its_column(tmp_path: Path) -> None:
    texts = pa.array([b"good", b"\xff\xfe", b"fine"]).view(pa.string())
    path = write(tmp_path / "a.parquet", rows=3, q=texts)
    found = [record for _, record in read_table(path, MAPPING)]
    assert [isinstance(record, UnusableRecord) for record in found] == [False, True, False]
    assert isinstance(found[1], UnusableRecord)
    assert found[1].reason == "invalid UTF-8"
    assert "'q'" in found[1].detail


def test_a_row_group_bomb_is_refused_from_the_footer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = tmp_path / "bomb.parquet"
    table = pa.table({"q": ["x" * 1_000_000 + str(k) for k in range(20)], "qa": [{"answer": "a"}] * 20})
    pq.write_table(table, bomb, compression="zstd", use_dictionary=False)
    assert bomb.stat().st_size < 100_000
    assert len(list(read_table(bomb, MAPPING))) == 20  # negative control: 20 MB are within what is allowed
    monkeypatch.setattr(tables, "SMALL_GROUP", 10_000_000)
    monkeypatch.setattr(tables, "MAX_EXPANSION", 50)
    tracemalloc.start()
    before = pa.total_allocated_bytes()
    with pytest.raises(DataError, match="row group 0 declares 20,"):
        next(read_table(bomb, MAPPING))
    assert pa.total_allocated_bytes() - before < 1_000_000
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()


def test_a_repeated_long_text_is_held_once(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    table = pa.table({"q": pa.array(["x" * 2_000_000] * 64).dictionary_encode(), "qa": [{"answer": "a"}] * 64})
    pq.write_table(table.cast(pa.schema([("q", pa.string()), ("qa", pa.struct([("answer", pa.string())]))])), path)
    before, peak = pa.total_allocated_bytes(), 0
    for _ in read_table(path, MAPPING):
        peak = max(peak, pa.total_allocated_bytes() - before)
    assert peak < 20_000_000  # of 128 MB
