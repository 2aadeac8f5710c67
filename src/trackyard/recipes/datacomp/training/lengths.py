"""How long each sample is once it has all its image and world tokens, and which ones cannot be used, counted by cause.

Counted once and kept, since at full size it takes minutes; every rank, restart and seed reads the same file.
Source: theworld spec sections 5 and 9.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trackyard.digest import digest_bytes, digest_json, short
from trackyard.durable import write_atomic
from trackyard.errors import DataError
from trackyard.feed.tree import NO_TARGET
from trackyard.feed.world_prompts import Unusable, WorldPrompts
from trackyard.recipes.datacomp.ingest.samples import Samples
from trackyard.recipes.running.plan_file import PLANS
from trackyard.schema import read_document, write_document

SCHEMA = "trackyard-world-lengths/1"
Ints = NDArray[np.int32]


@dataclass(frozen=True, kw_only=True, eq=False)
class Lengths:
    """tokens, supervised: int32 [samples], 0 for one that is left out; left_out: how many, by cause."""

    tokens: Ints
    supervised: Ints
    left_out: Mapping[str, int]

    @property
    def usable(self) -> NDArray[np.int64]:
        """Numbers of the samples that are trained on, rising."""
        return np.flatnonzero(self.tokens)

    @property
    def digest(self) -> str:
        return digest_bytes(self.tokens.tobytes() + self.supervised.tobytes())


def kept_lengths(root: Path, samples: Samples, prompts: WorldPrompts, question: str, decided_by: Any) -> Lengths:
    """Of all samples. decided_by: JSON of all that they follow from; a change of it counts them anew."""
    folder = root / PLANS / f"lengths-{short(digest_json(decided_by))}"
    document, table = folder / "lengths.json", folder / "lengths.npy"
    if not document.exists():
        found = count_lengths(samples, prompts, question)
        stream = io.BytesIO()
        np.save(stream, np.stack([found.tokens, found.supervised]))
        write_atomic(table, stream.getvalue())
        write_document(document, SCHEMA, {"digest": found.digest, "left_out": dict(found.left_out)})
    fix = f"rm -r {folder}   (they are counted again)"
    stated = read_document(document, SCHEMA, fix=fix)
    try:
        tokens, supervised = np.load(table, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise DataError(what=f"{table}: {error}", why="it says which samples are trained on", fix=fix) from error
    kept = Lengths(tokens=tokens, supervised=supervised, left_out=stated["left_out"])
    if kept.digest != stated["digest"] or len(tokens) != len(samples):
        raise DataError(
            what=f"{table} is not what was counted for {len(samples):,} samples",
            why="it says which samples are trained on",
            fix=fix,
        )
    return kept


def count_lengths(samples: Samples, prompts: WorldPrompts, question: str) -> Lengths:
    """Build every conversation once; one that is `Unusable` is counted and left out."""
    tokens, supervised = np.zeros(len(samples), dtype=np.int32), np.zeros(len(samples), dtype=np.int32)
    left_out: Counter[str] = Counter()
    for number, sample in enumerate(samples):
        try:
            prompt = prompts.build(question, answer=sample.caption)
        except Unusable as error:
            left_out[error.cause] += 1
            continue
        tokens[number] = len(prompt.input_ids)
        supervised[number] = (prompt.labels != NO_TARGET).sum()
    return Lengths(tokens=tokens, supervised=supervised, left_out=dict(left_out))
