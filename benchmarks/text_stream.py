"""A long stream of text into token shards, and the memory that it takes: `python -m benchmarks.text_stream`.

10 GB of made-up JSON lines, compressed, go through our reading, chunks, selection and shards; `datasets` in streaming
mode reads the same file and writes the same ids to a plain file, without naming documents, looking for duplicates or
proving anything. One id for four bytes stands in for a tokenizer, which would take twenty minutes and hold nothing.
Source: issue on the Pile-FFN track ("memory bounded while streaming 10 GB of synthetic text").
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.harness import Contender, Unequal, equal_answers, write_record
from benchmarks.limits import at_most
from benchmarks.measured import report
from benchmarks.text_stream_peer import FILE, PEER, with_peak
from trackyard.recipes.pile_ffn.text.document_ids import document_id
from trackyard.recipes.pile_ffn.text.document_table import TRAIN, Entry, TableWriter
from trackyard.recipes.pile_ffn.text.documents import Document, Dropped, Selection, Tokenised
from trackyard.recipes.pile_ffn.text.reading import read_documents
from trackyard.recipes.pile_ffn.text.token_progress import TokenProgress
from trackyard.recipes.pile_ffn.text.tokenizing import SHARD_TOKENS
from trackyard.snapshot.token_writer import write_tokens

OURS = "trackyard"
BODIES, BODY = 4, 5_000
"""Texts that documents are made of, few enough to lie in the window of the compression, and their length."""
LIMIT = 600_000_000
"""Bytes that ours may hold at its peak, of which the interpreter and its libraries are a sixth."""


def make(path: Path, size: int) -> int:
    """Write documents of `size` bytes of text in all, no two alike; returns how many."""
    rng = np.random.default_rng(0)
    letters = np.frombuffer(b"etaoin shrdlu", dtype=np.uint8)
    bodies = [rng.choice(letters, BODY).tobytes().decode() for _ in range(BODIES)]
    lines = [json.dumps({"text": f"NUMBER {body}"}) + "\n" for body in bodies]
    count = size // (BODY + 10)
    with gzip.open(path, "wt", compresslevel=1) as file:
        for number in range(count):
            file.write(lines[number % BODIES].replace("NUMBER", f"{number:09d}", 1))
    return count


def encoded(documents: Iterable[Document]) -> Iterator[Tokenised]:
    for found in documents:
        ids = np.frombuffer(found.text.encode(), dtype=np.uint8)[::4]
        yield Tokenised(document=found, ids=ids.astype(np.int64))


def stream(directory: Path) -> tuple[float, Any]:
    """Ours: bytes of text that became shards, and what they are."""
    selection = Selection()
    selection.resume(held_out=[document_id(b"held out")], dropped=Dropped())
    size = 0

    def ids() -> Iterator[NDArray[np.int64]]:
        nonlocal size
        with TableWriter(directory / "docs.parquet") as table:
            progress = TokenProgress(directory / "chunks")
            documents = progress.tokenised(read_documents(directory / FILE), encoded)
            for item in selection.training_slice(documents, tokens=int((directory / "tokens").read_text())):
                table.add(Entry.of(item, split=TRAIN, slice=0))
                size += item.document.size
                yield item.ids

    facts = {"source": {}, "licence": "CC0-1.0", "tokenizer": "none", "vocabulary": 50_304}
    manifest = write_tokens(directory / "ours", ids(), dataset="stream", shard_tokens=SHARD_TOKENS, **facts)  # type: ignore[arg-type]
    return size / 1e6, [manifest.documents, manifest.tokens]


def measure(scratch: Path, size: int) -> dict[str, Any]:
    count = make(scratch / FILE, size)
    (scratch / "tokens").write_text(str(count * ((BODY + 10 + 3) // 4)))
    contenders = [
        Contender(name=OURS, argv=["benchmarks/text_stream.py", "--child", str(scratch)]),
        Contender(name=PEER, argv=["benchmarks/text_stream_peer.py", str(scratch)], peer=True),
    ]
    # Once each: there is no cache to warm, and memory is no matter of chance.
    found = {one.name: one.run() for one in contenders if one.interpreter is not None}
    problem = equal_answers({name: one["answer"] for name, one in found.items()})
    if problem:
        raise Unequal(f"unequal output: {problem}")
    return {
        "name": f"{size / 1e9:.3g} GB of text, {count:,} documents",
        "unit": "MB/cpu-s",
        "figures": {
            name: {"rate": one["units"] / one["cpu_s"], "iqr": 0.0, "steady": True, "rounds": [one], **one["extra"]}
            for name, one in found.items()
        },
        "targets": [at_most("bytes at the peak", LIMIT, found[OURS]["extra"]["memory"]["peak_bytes"])],
    }


def main() -> int:
    """0 if memory stays within its limit at both sizes, 1 if not."""
    parser = argparse.ArgumentParser()
    parser.add_argument("directory", type=Path, nargs="?")
    parser.add_argument("--child", action="store_true")
    parser.add_argument("--scratch", type=Path, help="where text and shards are written; removed at the end")
    parser.add_argument("--bytes", type=int, default=10_000_000_000)
    given = parser.parse_args()
    if given.child:
        memory: dict[str, int] = {}
        report(with_peak(lambda: stream(given.directory), memory), memory=memory)
        return 0
    workloads = []
    for size in (given.bytes // 10, given.bytes):
        with tempfile.TemporaryDirectory(dir=given.scratch) as scratch:
            workloads.append(measure(Path(scratch), size))
    return 0 if write_record("text_stream", workloads, packages=("numpy", "pyarrow"), peers=("datasets",)) else 1


if __name__ == "__main__":
    sys.exit(main())
