"""Columns as pyarrow itself would make them."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackyard.acquire.images.columns import column, record_batch
from trackyard.acquire.images.shards import IMAGES, OUTCOMES

VALUES = {
    pa.string(): st.text(st.characters(codec="utf-8"), max_size=5),
    pa.binary(): st.binary(max_size=5),
    pa.binary(3): st.binary(min_size=3, max_size=3),
    pa.int32(): st.integers(-(2**31), 2**31 - 1),
}


@pytest.mark.parametrize("kind", VALUES, ids=str)
@given(data=st.data())
def test_a_column_is_what_pyarrow_makes_of_it(kind: pa.DataType, data: st.DataObject) -> None:
    values = data.draw(st.lists(st.none() | VALUES[kind], max_size=20))
    made = column(values, kind)
    made.validate(full=True)
    assert made.equals(pa.array(values, kind))
    assert made.null_count == values.count(None)


@pytest.mark.parametrize("schema", [IMAGES, OUTCOMES])
def test_every_kind_of_column_of_a_part_is_known(schema: pa.Schema) -> None:
    empty: dict[str, list[Any]] = {name: [None, None] for name in schema.names}
    assert record_batch(empty, schema).equals(pa.RecordBatch.from_pydict(empty, schema=schema))


def test_pandas_is_not_imported() -> None:
    program = (
        "import sys, pyarrow as pa; from trackyard.acquire.images.columns import column\n"
        "assert column(['a', None], pa.string()).to_pylist() == ['a', None]\n"
        "assert 'pandas' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
