"""Arrow files of both formats, by row ranges, and the refusal of damaged ones."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.nine_fixture import write_arrow
from trackyard.acquire.staging.tables import ArrowTable, arrow_batches, rows_between
from trackyard.errors import DataError

NUMBERS = pa.table({"n": pa.array(range(10), pa.int64())})


def _values(batches: object) -> list[int]:
    return [row["n"] for batch in batches for row in batch.to_pylist()]  # type: ignore[attr-defined]


def test_streams_and_files_are_read_in_order(tmp_path: Path) -> None:
    write_arrow(tmp_path / "a.arrow", NUMBERS.slice(0, 4))
    with pa.OSFile(str(tmp_path / "b.arrow"), "wb") as sink, pa.ipc.new_file(sink, NUMBERS.schema) as writer:
        writer.write_table(NUMBERS.slice(4), max_chunksize=2)
    table = ArrowTable(name="test", files=(tmp_path / "a.arrow", tmp_path / "b.arrow"))
    assert table.schema == NUMBERS.schema
    assert _values(table.batches()) == list(range(10))


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10), st.integers(0, 12))
def test_a_range_gives_exactly_its_rows(start: int, stop: int) -> None:
    class Memory:
        name, files, schema, declared = "x", (), NUMBERS.schema, None

        def batches(self) -> object:
            return iter(NUMBERS.to_batches(max_chunksize=3))

    assert _values(rows_between(Memory(), start, stop)) == list(range(10))[start:stop]  # type: ignore[arg-type]


@pytest.mark.parametrize("keep", [0, 3, 100, -20, -100])
def test_a_damaged_file_is_named(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "a.arrow"
    write_arrow(path, NUMBERS)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match=rf"{path} cannot be read"):
        list(arrow_batches(path))
    path.unlink()
    with pytest.raises(DataError, match="cannot be read"):
        list(arrow_batches(path))
