"""The mini corpus: a few megabytes in the layout of the Pile, made from a seed, with the faults that real files have.

`train/00.jsonl.zst` …, `val.jsonl.zst` and `test.jsonl.zst`, records {text, meta: {pile_set_name}}; the four domains
of `mini_domains` in equal shares, shuffled. Every training file also holds an empty text,
exact duplicates, and texts of the test file, so that the rules of section 5 have something to find.
Source: pile-ffn spec section 5, issue on the Pile-FFN track.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from trackyard.acquire.mini.draft import random_of
from trackyard.durable import atomic_directory
from trackyard.parameters import Parameters
from trackyard.recipes.pile_ffn.text.mini_domains import DOMAINS

VAL, TEST = "val.jsonl.zst", "test.jsonl.zst"
SHORTEST, LONGEST = 800, 2_400
"""Characters of a document, about."""
EMPTY, DUPLICATES, OVERLAPS = 1, 3, 2
"""Faults in every training file."""
LEVEL = 3
"""zstandard, as most files of the Pile."""


class MiniCorpusParameters(Parameters):
    """How much is made: documents of each file. 640 are about one megabyte."""

    seed: int = 0
    train_files: int = 3
    train_documents: int = 640
    held_out_documents: int = 320


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """A line of a file."""

    text: str
    component: str

    def line(self) -> bytes:
        return json.dumps({"text": self.text, "meta": {"pile_set_name": self.component}}).encode() + b"\n"


def training_file(number: int) -> str:
    """Path of a training file below the corpus, as in the Pile."""
    return f"train/{number:02d}.jsonl.zst"


def document(seed: int, file: str, number: int) -> Record:
    """One document, a function of its place alone; domains take turns."""
    rng = random_of("pile-ffn mini corpus", seed, file, number)
    component = list(DOMAINS)[number % len(DOMAINS)]
    left = int(rng.integers(SHORTEST, LONGEST))
    parts: list[str] = []
    for part in DOMAINS[component](rng):
        parts.append(part)
        left -= len(part)
        if left <= 0:
            break
    return Record(text="\n".join(parts) + "\n", component=component)


def records(parameters: MiniCorpusParameters, file: str) -> Iterator[Record]:
    """Records of a file in their order. The domains follow one another by chance."""
    training = file not in (VAL, TEST)
    count = parameters.train_documents if training else parameters.held_out_documents
    places = [(file, number) for number in range(count)]
    if training:
        places += places[:DUPLICATES] + [(TEST, number) for number in range(OVERLAPS)]
    order = random_of("pile-ffn mini order", parameters.seed, file).permutation(len(places))
    for number in order:
        yield document(parameters.seed, *places[number])
    if training:
        yield from [Record(text="\n", component="prose")] * EMPTY


def write_mini_corpus(directory: Path, parameters: MiniCorpusParameters) -> None:
    """Write the files below `directory`, which must not exist, all or nothing. FileExistsError otherwise."""
    import zstandard

    with atomic_directory(directory) as partial:
        (partial / "train").mkdir()
        for file in (*map(training_file, range(parameters.train_files)), VAL, TEST):
            data = b"".join(record.line() for record in records(parameters, file))
            (partial / file).write_bytes(zstandard.ZstdCompressor(level=LEVEL).compress(data))
