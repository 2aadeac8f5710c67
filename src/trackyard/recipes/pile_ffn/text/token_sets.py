"""The token sets of a study as its stages read them: shards, and the documents that lie in them.

A set is a directory of token shards below `Study.tokens`: train-00, train-01, ... in the order of the seeds, pretrain
(of a made model), val, test, uat_opt, uat_eval and flip. Source: pile-ffn spec sections 5 and 10.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from trackyard.digest import digest_file
from trackyard.errors import DataError
from trackyard.recipes.pile_ffn.results import DOCUMENT, read_result
from trackyard.recipes.pile_ffn.study import Study
from trackyard.recipes.pile_ffn.text.document_table import TRAIN, Entry, read_table
from trackyard.snapshot.manifest import NAME
from trackyard.snapshot.token_shards import TokenShards

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from trackyard.evaluate.document_scores import ScoredText

PRETRAIN = "pretrain"
TABLE, TOKENIZER = "docs.parquet", "tokenizer"
STAGE = "tokenize"
AGAIN = f"prepare the tokens again: dvc repro -f pipelines/pile_ffn/dvc.yaml:{STAGE}"


def training_set(replicate: int) -> str:
    """Name of the slice of a replicate."""
    return f"{TRAIN}-{replicate:02d}"


@dataclass(frozen=True, kw_only=True)
class TokenSet:
    """One set. digest: blake3 of its manifest, which names the digests that prove every token."""

    study: Study
    name: str
    shards: TokenShards
    digest: str

    @cached_property
    def entries(self) -> tuple[Entry, ...]:
        """The documents in the order of the shards. DataError if they are not those that lie there."""
        entries = tuple(entry for entry in read_table(self.study.tokens / TABLE) if set_of(entry) == self.name)
        if [entry.n_tokens for entry in entries] != np.diff(self.shards.starts).tolist():
            raise DataError(
                what=f"{self.study.tokens / TABLE} and the shards of {self.name} disagree on its documents",
                why="a loss would be put down to another document",
                fix=AGAIN,
            )
        return entries

    def inputs(self, study: Study) -> dict[str, str]:
        """blake3 of what says which documents and tokens these are, by path relative to the repository."""
        table = study.tokens / TABLE
        manifest = study.tokens / self.name / NAME
        return {
            table.relative_to(study.root).as_posix(): digest_file(table),
            manifest.relative_to(study.root).as_posix(): self.digest,
        }

    def documents(self) -> Iterator[tuple[Entry, NDArray[np.int64]]]:
        """Every document with its ids [n_tokens], one at a time, in their order."""
        for entry, start in zip(self.entries, self.shards.starts[:-1].tolist(), strict=True):
            ids = np.empty(entry.n_tokens, dtype=np.int64)
            self.shards.read(start, ids)
            yield entry, ids


def set_of(entry: Entry) -> str:
    """Name of the set that a document lies in."""
    return entry.split if entry.slice is None else training_set(entry.slice)


def open_set(study: Study, name: str) -> TokenSet:
    """A set by its name, nothing of it read yet but its manifest. DataError if it is absent or damaged."""
    shards = TokenShards.open(study.tokens / name, restore=AGAIN)
    return TokenSet(study=study, name=name, shards=shards, digest=digest_file(study.tokens / name / NAME))


def scored_texts(tokens: TokenSet) -> Iterator[ScoredText]:
    """The documents of a set, for scoring, one at a time."""
    from trackyard.evaluate.document_scores import ScoredText  # imports torch, which preparing tokens does without

    for entry, ids in tokens.documents():
        yield ScoredText(id=entry.doc_id, component=entry.component, ids=ids, bytes=entry.bytes)


def attack_documents(tokens: TokenSet) -> dict[str, list[int]]:
    """The ids of the documents of a set, by their doc_id, in their order."""
    return {entry.doc_id: ids.tolist() for entry, ids in tokens.documents()}


def slice_digest(study: Study, replicate: int) -> str:
    """Digest of the ordered documents that a replicate is trained on, equal for all arms. DataError without one."""
    body = read_result(study.tokens / DOCUMENT, STAGE).body
    digests: dict[str, Any] = body["slice_digests"]
    if str(replicate) not in digests:
        raise DataError(
            what=f"{study.tokens / DOCUMENT} knows no slice of replicate {replicate}, only {sorted(digests)}",
            why="arms of a seed are compared on the same training text",
            fix=AGAIN,
        )
    return str(digests[str(replicate)])


def load_tokenizer(study: Study) -> PreTrainedTokenizerFast:
    """The study's tokenizer as tokenizer.json states it, from below `Study.tokens`."""
    from transformers import PreTrainedTokenizerFast

    folder = study.tokens / TOKENIZER
    if not (folder / "tokenizer.json").is_file():
        raise DataError(
            what=f"there is no tokenizer.json in {folder}",
            why="ids mean nothing without the tokenizer that made them",
            fix=AGAIN,
        )
    tokenizer: PreTrainedTokenizerFast = PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
    return tokenizer
