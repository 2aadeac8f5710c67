"""A long text through reading, chunks, selection and shards: what is held does not grow with it."""

import gzip
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.memory import in_a_new_process, peak_growth
from trackyard.recipes.pile_ffn.text.document_ids import document_id
from trackyard.recipes.pile_ffn.text.document_table import TRAIN, Entry, TableWriter
from trackyard.recipes.pile_ffn.text.documents import Document, Dropped, Selection, Tokenised
from trackyard.recipes.pile_ffn.text.reading import read_documents
from trackyard.recipes.pile_ffn.text.token_progress import TokenProgress
from trackyard.snapshot.token_writer import write_tokens

BOUND = 32_000_000
HOARDED = 50_000_000
SHARD, CHUNK = 1 << 20, 1 << 18


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 MB in 6,000 documents."""
    path = tmp_path_factory.mktemp("text") / "text.jsonl.gz"
    with gzip.open(path, "wt", compresslevel=1) as file:
        for number in range(6_000):
            file.write(json.dumps({"text": f"{number} " + "a few words " * 833}) + "\n")
    return path


def encoded(documents: Iterable[Document]) -> Iterator[Tokenised]:
    for one in documents:
        ids = np.frombuffer(one.text.encode(), dtype=np.uint8)[::4]
        yield Tokenised(document=one, ids=ids.astype(np.int64))


def into_shards(text: Path, directory: Path, *, hoard: bool) -> int:
    """hoard: hold all documents first."""
    selection = Selection()
    selection.resume(held_out=[document_id(b"")], dropped=Dropped())

    def ids() -> Iterator[NDArray[np.int64]]:
        documents = list(read_documents(text)) if hoard else read_documents(text)
        items = TokenProgress(directory / "chunks", chunk_tokens=CHUNK).tokenised(documents, encoded)
        with TableWriter(directory / "docs.parquet") as table:
            for item in selection.training_slice(items, tokens=14_900_000):
                table.add(Entry.of(item, split=TRAIN, slice=0))
                yield item.ids

    directory.mkdir()
    manifest = write_tokens(
        directory / "tokens",
        ids(),
        dataset="long",
        source={},
        licence="CC0-1.0",
        tokenizer="none",
        vocabulary=256,
        shard_tokens=SHARD,
    )
    return manifest.documents


def growth(text: Path, directory: Path, hoard: bool) -> int:
    """Bytes, after one run that loads what every run needs."""
    into_shards(text, directory / "first", hoard=False)
    with peak_growth() as grown:
        documents = into_shards(text, directory / "second", hoard=hoard)
    assert documents > 5_900
    return grown()


def test_memory_is_bounded(text: Path, tmp_path: Path) -> None:
    assert in_a_new_process(growth, text, tmp_path, hoard=False) < BOUND


def test_a_list_of_documents_is_seen(text: Path, tmp_path: Path) -> None:
    """Negative control."""
    assert in_a_new_process(growth, text, tmp_path, hoard=True) > HOARDED
