"""Finding images in nested columns: compared with plain Python over random rows."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.nine_fixture import IMAGE, features
from trackyard.acquire.staging.columns import (
    ImageColumns,
    embedded_schema,
    image_columns,
    is_there,
    leaves,
    row_sums,
    stored_paths,
    values_at,
)
from trackyard.acquire.staging.images import Embedder, changed_batch
from trackyard.acquire.staging.survey import survey


class Rows:
    """A table in memory."""

    name = "validation"
    files = ()
    declared = None

    def __init__(self, table: Any, batch: int = 2) -> None:
        self._table, self._batch = table, batch

    @property
    def schema(self) -> Any:
        return self._table.schema

    def batches(self) -> Any:
        return iter(self._table.to_batches(max_chunksize=self._batch))


SCHEMA = pa.schema(
    [
        ("image", IMAGE),
        ("turns", pa.list_(pa.struct([("text", pa.string()), ("shots", pa.list_(IMAGE))]))),
        ("file", pa.string()),
    ]
)
pictures = st.one_of(
    st.none(),
    st.builds(lambda data: {"bytes": data, "path": None}, st.binary(min_size=1, max_size=4)),
    st.builds(lambda name: {"bytes": None, "path": f"/data/{name}.jpg"}, st.integers(0, 5)),
    st.just({"bytes": None, "path": None}),
)
rows = st.lists(
    st.fixed_dictionaries(
        {
            "image": pictures,
            "turns": st.one_of(
                st.none(),
                st.lists(
                    st.one_of(
                        st.none(),
                        st.fixed_dictionaries(
                            {"text": st.text(max_size=3), "shots": st.one_of(st.none(), st.lists(pictures, max_size=3))}
                        ),
                    ),
                    max_size=3,
                ),
            ),
            "file": st.one_of(st.none(), st.just(""), st.builds("/data/{}.PNG".format, st.integers(0, 5))),
        }
    ),
    min_size=1,
    max_size=7,
)


def _expected(row: dict[str, Any]) -> list[dict[str, Any]]:
    found = [row["image"]]
    for turn in row["turns"] or []:
        found += (turn or {}).get("shots") or []
    images = [image for image in found if image and (image["bytes"] is not None or image["path"])]
    return images + ([{"bytes": None, "path": row["file"]}] if row["file"] else [])


@settings(deadline=None)
@given(rows)
def test_counts_and_paths_equal_those_of_a_plain_loop(rows: list[dict[str, Any]]) -> None:
    table = Rows(pa.Table.from_pylist(rows, SCHEMA))
    found = survey(table)
    columns = image_columns(table)
    assert columns.images == (("image",), ("turns", "[]", "shots", "[]"))
    assert columns.paths == ((("file",),) if any(row["file"] for row in rows) else ())
    expected = [_expected(row) for row in rows]
    assert found.counts["rows with an image"] == sum(1 for images in expected if images)
    assert found.counts["turns"] == sum(len(row["turns"] or []) for row in rows)
    assert set(found.paths) == {image["path"] for images in expected for image in images if image["bytes"] is None}
    whole = pa.Table.from_pylist(rows, SCHEMA).to_batches()[0].slice(1)  # offsets that do not start at zero
    for leaf in columns.images:
        sums = row_sums(whole.column(leaf[0]), leaf[1:], is_there)
        values = values_at(whole.column(leaf[0]), leaf[1:])
        assert int(sums.sum()) == int(is_there(values).sum())
        assert len(sums) == len(rows) - 1
        assert stored_paths(values).null_count <= len(values)


@settings(deadline=None)
@given(rows)
def test_embedding_keeps_rows_and_fills_every_image(rows: list[dict[str, Any]]) -> None:
    table = Rows(pa.Table.from_pylist(rows, SCHEMA))
    columns = image_columns(table)
    schema = embedded_schema(table.schema, columns)
    done = [
        row for batch in table.batches() for row in changed_batch(batch, schema, columns, PathAsBytes()).to_pylist()
    ]
    assert [_bytes(row, columns) for row in done] == [
        [image["bytes"] if image["bytes"] is not None else image["path"].encode() for image in _expected(row)]
        for row in rows
    ]


class PathAsBytes(Embedder):
    """Takes the stored path for the bytes of its file."""

    def __init__(self) -> None:
        super().__init__({})

    def text(self, value: Any) -> Any:
        return {"bytes": value.encode(), "path": "p"} if value else None


def _bytes(row: dict[str, Any], columns: ImageColumns) -> list[bytes]:
    file = row["file"] if columns.paths else None
    return [image["bytes"] for image in _expected(row | {"file": None})] + ([file["bytes"]] if file else [])


@pytest.mark.parametrize(
    ("values", "paths", "mixed"),
    [
        (["/a/b.jpg", "/c.TIFF", None, ""], True, False),
        (["https://example.org/a.jpg", "b.jpg", "VG_100K/1.jpg"], False, False),
        (["/a/b.jpg", "a question about /x.png?"], False, True),
        (["/a/b.txt", "/a.jpg/"], False, False),
        (["/a/b.jpg\nand more", "line\n/a.jpg"], False, False),
        ([None, None], False, False),
    ],
)
def test_only_texts_that_are_all_absolute_image_paths_point_to_images(
    values: list[str | None], paths: bool, mixed: bool
) -> None:
    columns = image_columns(Rows(pa.table({"text": pa.array(values, pa.string())})))
    assert bool(columns.paths) == paths
    assert bool(columns.mixed) == mixed


def test_a_column_that_becomes_an_image_is_told_to_datasets() -> None:
    text = {"dtype": "string", "_type": "Value"}
    schema = pa.schema(
        [("a", pa.string()), ("b", pa.list_(pa.string())), ("q", pa.string())],
        metadata=features(a=text, b={"feature": text, "_type": "List"}, q=text),
    )
    columns = ImageColumns(images=(), paths=(("a",), ("b", "[]")))
    told = embedded_schema(schema, columns)
    assert told.field("a").type == IMAGE
    assert told.field("b").type == pa.list_(IMAGE)
    assert told.field("q").type == pa.string()
    info = json.loads(told.metadata[b"huggingface"])["info"]["features"]
    assert info["a"] == {"_type": "Image"}
    assert info["b"] == {"feature": {"_type": "Image"}, "_type": "List"}
    assert info["q"] == text
    older = pa.schema([("b", pa.list_(pa.string()))], metadata=features(b=[text]))
    told = embedded_schema(older, ImageColumns(images=(), paths=(("b", "[]"),)))
    assert json.loads(told.metadata[b"huggingface"])["info"]["features"] == {"b": [{"_type": "Image"}]}


def test_leaves_go_through_lists_and_structs_and_stop_at_images() -> None:
    assert list(leaves(SCHEMA)) == [
        (("image",), "image"),
        (("turns", "[]", "text"), "text"),
        (("turns", "[]", "shots", "[]"), "image"),
        (("file",), "text"),
    ]
