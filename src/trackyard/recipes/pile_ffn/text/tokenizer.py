"""The study's tokenizer: that of the model, or one trained on the pretraining file; and the marks it puts on documents.

Source: pile-ffn spec sections 2 and 5.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trackyard.errors import DataError
from trackyard.recipes.pile_ffn.parameters import MadeModelParameters

FILE = "tokenizer.json"
FILES = (FILE, "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
"""What of a model's files belongs to its tokenizer."""
BEGINNING = frozenset({"llama"})
"""Families whose texts begin with a mark; GPT-NeoX and Qwen2 have none (section 2)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Marks:
    """Ids around a document, and the digest of what decides ids. vocabulary: rows of the model's table; ids are below.

    begin: None in families without such a mark.
    """

    begin: int | None
    end: int
    vocabulary: int
    digest: str


def train(folder: Path, made: MadeModelParameters, texts: Iterable[str]) -> None:
    """Byte-level BPE with `made.vocabulary` entries at most, a function of the texts alone."""
    from trackyard.feed.tokens import TURN_START, train_tokenizer

    tokenizer = train_tokenizer(texts, made.vocabulary)
    if made.family in BEGINNING:
        tokenizer.bos_token = TURN_START
    tokenizer.save_pretrained(folder)


def copy(folder: Path, model: Path) -> None:
    """The tokenizer's files of a model. DataError without tokenizer.json."""
    if not (model / FILE).is_file():
        raise DataError(
            what=f"there is no {FILE} in {model}",
            why="a tokenizer that is converted from another form may give other ids",
            fix="choose a model whose repository holds one: pile_ffn.model in params.yaml",
        )
    for name in FILES:
        if (model / name).is_file():
            shutil.copyfile(model / name, folder / name)


def marks_of(folder: Path, *, family: str, vocabulary: int) -> Marks:
    """DataError for a tokenizer without an end, or with more entries than the model has rows."""
    from transformers import PreTrainedTokenizerFast

    from trackyard.feed.tokens import tokenizer_fingerprint

    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
    begin = tokenizer.bos_token_id if family in BEGINNING else None
    if tokenizer.eos_token_id is None or (family in BEGINNING and begin is None) or len(tokenizer) > vocabulary:
        raise DataError(
            what=f"the tokenizer of {family} has begin={begin}, end={tokenizer.eos_token_id} and {len(tokenizer):,} "
            f"entries; the model has {vocabulary:,} rows",
            why="documents of a window are told apart by their marks, and an id beyond the table is no token",
            fix="set pile_ffn.model in params.yaml to a base model of its family at another revision",
        )
    return Marks(
        begin=begin,
        end=int(tokenizer.eos_token_id),
        vocabulary=vocabulary,
        digest=tokenizer_fingerprint(tokenizer),
    )


def family_and_rows(model: Path) -> tuple[str, int]:
    """Of a model's config.json. DataError if it does not say."""
    path = model / "config.json"
    try:
        body: dict[str, Any] = json.loads(path.read_bytes())
        return str(body["model_type"]), int(body["vocab_size"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            what=f"{path}: {type(error).__name__}: {error}",
            why="it says which marks documents have, and how many ids there are",
            fix="fetch again: dvc repro -f pipelines/pile_ffn/dvc.yaml:fetch",
        ) from error
