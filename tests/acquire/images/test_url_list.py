"""The addresses of an entry's images: every one of every table, in order, or an error that says what is missing."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.loopback.hub import LoopbackHub
from trackyard.acquire.hub.fetch import fetch_repository
from trackyard.acquire.images import url_list
from trackyard.acquire.images.pinned_list import UrlRow
from trackyard.acquire.images.url_list import _tables, read_urls
from trackyard.acquire.places import Places
from trackyard.catalog.entries import Entry
from trackyard.errors import DataError

SHA = hashlib.sha256(b"x")


@pytest.fixture(scope="module")
def hub() -> Iterator[LoopbackHub]:
    with LoopbackHub() as hub:
        yield hub


def parquet(rows: list[dict[str, Any]], **options: Any) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), buffer, **options)
    return buffer.getvalue()


def jsonl(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def entry_of(digests: str | None = None, *, repo: str = "o/n") -> Entry:
    recipe = {"kind": "urls", "url_column": "url", "sha256_column": digests}
    return Entry.model_validate(
        {
            "name": "set", "title": "set", "roles": ["train"], "group": "g", "media": "image", "access": "url",
            "recipe": recipe, "hub": [{"repo": repo}],
        }
    )  # fmt: skip


def urls(hub: LoopbackHub, tmp_path: Path, files: dict[str, bytes], digests: str | None = None) -> list[UrlRow]:
    hub.repositories.clear()
    hub.add_repository("o/n", files)
    places = Places(hub=tmp_path / "hub", raw=tmp_path / "raw", data=tmp_path / "data")
    entry = entry_of(digests)
    fetch_repository(entry.hub[0], cache=places.hub, endpoint=hub.url)
    return list(read_urls(entry, places))


def test_every_table_in_order_with_repetitions(hub: LoopbackHub, tmp_path: Path) -> None:
    found = urls(
        hub, tmp_path,
        {
            "b.jsonl": jsonl([{"url": "4"}, {"other": 1}, {"url": ["5", "", "6"]}]),
            "a/train-0.parquet": parquet([{"url": "1"}, {"url": None}, {"url": "1"}]),
            "a/train-1.parquet": parquet([{"url": "3"}]),
            "a/other.parquet": parquet([{"n": 1}]),
            "README.md": b"url",
        },
    )  # fmt: skip
    assert [row.url for row in found] == ["1", "1", "3", "4", "5", "6"]


@pytest.mark.parametrize("digest", [SHA.hexdigest(), SHA.digest()])
def test_digests_as_text_or_as_bytes(hub: LoopbackHub, tmp_path: Path, digest: str | bytes) -> None:
    (row,) = urls(hub, tmp_path, {"a.parquet": parquet([{"url": "1", "sha": digest}])}, "sha")
    assert row == UrlRow("1", SHA.hexdigest())


def test_a_list_of_addresses_with_a_digest_for_each(hub: LoopbackHub, tmp_path: Path) -> None:
    found = urls(hub, tmp_path, {"a.parquet": parquet([{"url": ["1", "2"], "sha": ["aa", None]}])}, "sha")
    assert found == [UrlRow("1", "aa"), UrlRow("2", None)]


def test_more_digests_than_addresses(hub: LoopbackHub, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        urls(hub, tmp_path, {"a.parquet": parquet([{"url": ["1"], "sha": ["aa", "bb"]}])}, "sha")


def test_no_table_has_the_column(hub: LoopbackHub, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        urls(hub, tmp_path, {"a.parquet": parquet([{"link": "1", "text": "t"}])})
    assert "no column" not in caught.value.what
    assert "link, text" in caught.value.what
    assert caught.value.fix == "correct recipe.url_column of set in catalog/"


def test_no_table_at_all(hub: LoopbackHub, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the last one has no column"):
        urls(hub, tmp_path, {"README.md": b"nothing here"})


def test_tables_that_were_not_fetched(tmp_path: Path) -> None:
    places = Places(hub=tmp_path / "hub", raw=tmp_path / "raw", data=tmp_path / "data")
    with pytest.raises(DataError, match="no copy of o/n"):
        list(read_urls(entry_of(), places))


@pytest.mark.parametrize("bad", [b"not parquet", parquet([{"url": "1"}])[:-5]])
def test_a_table_that_cannot_be_read_stops(hub: LoopbackHub, tmp_path: Path, bad: bytes) -> None:
    with pytest.raises(DataError, match=r"bad\.parquet cannot be read") as caught:
        urls(hub, tmp_path, {"a.parquet": parquet([{"url": "1"}]), "bad.parquet": bad})
    assert caught.value.fix == "trackyard data fetch set"


@pytest.mark.parametrize("bad", [b'{"url": "1"}\n["2"]\n', b'{"url": "1"}\n{"url"\n', b'{"url": "\xff"}\n'])
def test_lines_that_are_no_records_stop(hub: LoopbackHub, tmp_path: Path, bad: bytes) -> None:
    with pytest.raises(DataError, match=r"a\.jsonl cannot be read"):
        urls(hub, tmp_path, {"a.jsonl": bad})


@settings(max_examples=15, deadline=None)
@given(
    values=st.lists(st.one_of(st.none(), st.text(min_size=1, max_size=9), st.just("")), max_size=40),
    group=st.integers(1, 7), batch=st.integers(1, 9),
)  # fmt: skip
def test_row_groups_and_batches_change_nothing(
    tmp_path_factory: pytest.TempPathFactory, values: list[str | None], group: int, batch: int
) -> None:
    path = tmp_path_factory.mktemp("table") / "a.parquet"
    table = pa.table({"other": list(range(len(values))), "url": pa.array(values, pa.string())})
    pq.write_table(table, path, row_group_size=group)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(url_list, "BATCH_ROWS", batch)
        found = [record["url"] for _, records in _tables(path, "url", None) for record in records]
    assert found == values
