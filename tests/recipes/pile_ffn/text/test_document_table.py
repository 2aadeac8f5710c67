import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from blake3 import blake3

from trackyard.errors import DataError
from trackyard.recipes.pile_ffn.text import document_table
from trackyard.recipes.pile_ffn.text.document_table import Entry, check_splits, read_table, write_table
from trackyard.recipes.pile_ffn.text.documents import Document, Tokenised


def entry(number: int, split: str = "train", slice: int | None = 0) -> Entry:
    document = Document.of(f"text {number}", component="prose", source="00", row=number)
    item = Tokenised(document=document, ids=np.zeros(number + 1, dtype=np.int64))
    return Entry.of(item, split=split, slice=slice if split == "train" else None)


ENTRIES = [entry(i) for i in range(5)] + [entry(i, slice=1) for i in range(5, 8)] + [entry(9, "val"), entry(10, "test")]


def test_the_table_comes_back_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(document_table, "AT_ONCE", 4)
    path = tmp_path / "docs.parquet"
    assert write_table(path, iter(ENTRIES)) == 10
    assert list(read_table(path)) == ENTRIES
    assert pq.ParquetFile(path).num_row_groups == 3
    assert ENTRIES[3].doc_id == hashlib.sha256(b"text 3").hexdigest()[:32]
    assert (ENTRIES[3].bytes, ENTRIES[3].n_tokens, ENTRIES[-1].slice) == (6, 4, None)


def test_a_clean_table(tmp_path: Path) -> None:
    found = check_splits(ENTRIES)
    assert found.documents == {"train": 8, "val": 1, "test": 1}
    ids = [bytes.fromhex(item.doc_id) for item in ENTRIES]
    assert found.slice_digests == {0: blake3(b"".join(ids[:5])).hexdigest(), 1: blake3(b"".join(ids[5:8])).hexdigest()}


def test_another_order_or_document_is_another_slice() -> None:
    digests = {
        check_splits(entries).slice_digests[0]
        for entries in (ENTRIES, [ENTRIES[1], ENTRIES[0], *ENTRIES[2:]], [entry(77), *ENTRIES[1:]], ENTRIES[1:])
    }
    assert len(digests) == 4


@pytest.mark.parametrize(
    "wrong",
    [
        replace(ENTRIES[0], split="test", slice=None),
        replace(ENTRIES[0], slice=1),
        replace(ENTRIES[-1], split="flip"),
        replace(entry(50), slice=None),
        replace(entry(50, "val"), slice=1),
    ],
)
def test_a_text_with_two_places_or_none(wrong: Entry) -> None:
    with pytest.raises(DataError, match=f"document {wrong.doc_id} .* is used twice, or has no place"):
        check_splits([*ENTRIES, wrong])


@pytest.mark.parametrize("entries", [[], ENTRIES[:8], ENTRIES[8:]])
def test_a_check_over_nothing_is_no_check(entries: list[Entry]) -> None:
    with pytest.raises(DataError, match="the table holds"):
        check_splits(entries)


def test_another_file(tmp_path: Path) -> None:
    path = tmp_path / "docs.parquet"
    with pytest.raises(DataError, match="cannot be read as a table of documents"):
        list(read_table(path))
    path.write_bytes(b"PAR1 not a table")
    with pytest.raises(DataError, match="cannot be read as a table of documents"):
        list(read_table(path))
