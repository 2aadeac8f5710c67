"""Column types that readers accept, and the words for those that they do not."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from trackyard.acquire.staging.columns import IMAGE_TYPE
from trackyard.errors import DataError
from trackyard.recipes.nine.layouts.columns import (
    IMAGE,
    INTEGER,
    NAME,
    TEXT,
    TEXTS,
    Each,
    Either,
    Fields,
    Kind,
    fits,
    require_columns,
)

MESSAGE = pa.struct([("question", pa.string()), ("answers", pa.list_(pa.string())), ("more", pa.int8())])
CASES: list[tuple[Kind, Any, bool]] = [
    (TEXT, pa.string(), True),
    (TEXT, pa.large_string(), True),
    (TEXT, pa.int64(), False),
    (INTEGER, pa.int8(), True),
    (INTEGER, pa.float32(), False),
    (NAME, pa.int32(), True),
    (NAME, pa.string(), True),
    (NAME, pa.list_(pa.string()), False),
    (IMAGE, IMAGE_TYPE, True),
    (IMAGE, pa.string(), False),
    (TEXTS, pa.list_(pa.string()), True),
    (TEXTS, pa.string(), False),
    (Each(INTEGER), pa.list_(pa.string()), False),
    (Fields({"question": TEXT, "answers": TEXTS}), MESSAGE, True),
    (Fields({"question": INTEGER}), MESSAGE, False),
    (Fields({"absent": TEXT}), MESSAGE, False),
    (Fields({"question": TEXT}), pa.string(), False),
    (Each(Fields({"question": TEXT})), pa.list_(MESSAGE), True),
    (Either((TEXT, INTEGER)), pa.int16(), True),
    (Either((TEXT, INTEGER)), pa.float16(), False),
]


@pytest.mark.parametrize(("kind", "stored", "right"), CASES)
def test_types_that_fit(kind: Kind, stored: Any, right: bool) -> None:
    assert fits(kind, stored) is right


def test_the_error_names_the_column_both_types_and_the_file() -> None:
    schema = pa.schema([("question", pa.string()), ("answers", pa.string())])
    with pytest.raises(DataError) as caught:
        require_columns(schema, {"question": TEXT, "answers": TEXTS}, where="a.parquet", entry="doc_qa")
    assert caught.value.what == "a.parquet: the column 'answers' is string, not list of text"
    with pytest.raises(DataError) as caught:
        require_columns(schema, {"hint": TEXT}, where="a.parquet", entry="doc_qa")
    assert caught.value.what == "a.parquet: no column 'hint' (text); it has question, answers"
    assert "doc_qa" in caught.value.why
    require_columns(schema, {"question": TEXT}, where="a.parquet", entry="doc_qa")
