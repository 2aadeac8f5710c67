"""The tokens that attacks may write, one list for all attacks and arms. Source: pile-ffn spec section 8.2."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from trackyard.digest import digest_bytes
from trackyard.errors import ConfigError, DataError


class Tokenizer(Protocol):
    """What the pool asks of a tokenizer; those of transformers fit."""

    all_special_ids: list[int]

    def __len__(self) -> int: ...

    def __call__(self, text: list[str], *, add_special_tokens: bool) -> Any: ...

    def batch_decode(self, sequences: Any, *, clean_up_tokenization_spaces: bool) -> list[str]: ...


@dataclass(frozen=True, kw_only=True, eq=False)
class TokenPool:
    """ids: rising token ids, int64 [P]. digest: blake3 of them as little-endian uint32."""

    ids: NDArray[np.int64]
    digest: str

    @classmethod
    def of(cls, ids: Sequence[int] | NDArray[np.int64]) -> TokenPool:
        """The pool of these ids, each once; ConfigError with fewer than two, from which nothing can be chosen."""
        rising = np.unique(np.asarray(ids, dtype=np.int64))
        if len(rising) < 2:
            raise ConfigError(
                what=f"a token pool of {len(rising)} ids",
                why="an attack replaces a token by another one of the pool",
                fix="use a tokenizer whose tokens decode to printable text and encode to themselves again",
            )
        return cls(ids=rising, digest=digest_bytes(rising.astype("<u4").tobytes()))

    def check(self, rows: int) -> None:
        """DataError if an id has no row among the `rows` of the embedding."""
        if self.ids[-1] >= rows or self.ids[0] < 0:
            raise DataError(
                what=f"pool ids reach from {self.ids[0]} to {self.ids[-1]}, the embedding has {rows} rows",
                why="pool and model belong to different tokenizers",
                fix="make the pool from the tokenizer of the exported model",
            )


def token_pool(tokenizer: Tokenizer) -> TokenPool:
    """Ids of the tokenizer that are not special, decode to printable text, and alone encode to themselves."""
    special = set(tokenizer.all_special_ids)
    ids = [token for token in range(len(tokenizer)) if token not in special]
    texts = tokenizer.batch_decode([[token] for token in ids], clean_up_tokenization_spaces=False)
    printable = [(token, text) for token, text in zip(ids, texts, strict=True) if text and text.isprintable()]
    if not printable:
        return TokenPool.of([])
    again = tokenizer([text for _, text in printable], add_special_tokens=False)["input_ids"]
    return TokenPool.of(
        [token for (token, _), encoded in zip(printable, again, strict=True) if list(encoded) == [token]]
    )
