"""Writing token shards (see `trackyard.snapshot.token_shards`), all or nothing. Source: pile-ffn spec section 5."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from xxhash import xxh3_64_intdigest

from trackyard.digest import digest_file
from trackyard.durable import atomic_directory
from trackyard.errors import DataError
from trackyard.schema import write_document
from trackyard.snapshot.manifest import NAME
from trackyard.snapshot.token_shards import BLOCK_BYTES, SCHEMA, TokenFile, TokenManifest
from trackyard.snapshot.writer import refuse_existing, without_rows

SHARD_TOKENS = 134_217_728
"""Tokens of a shard at most."""
INDEX, BLOCKS = "index.npy", "blocks.npy"


def write_tokens(
    directory: Path,
    documents: Iterable[ArrayLike],
    *,
    dataset: str,
    source: Mapping[str, Any],
    licence: str,
    tokenizer: str,
    vocabulary: int,
    shard_tokens: int = SHARD_TOKENS,
) -> TokenManifest:
    """Write `directory` (which must not exist) from a stream of documents, all or nothing. Memory: one shard.

    documents: token ids [any length]; beginning and end tokens are the caller's. vocabulary: ids are below it;
    DataError for one that is not, which a narrow integer would silently turn into another.
    """
    refuse_existing(directory)
    dtype: Literal["uint16", "uint32"] = "uint16" if vocabulary <= 65_536 else "uint32"
    with atomic_directory(directory) as partial:
        stream = _Stream(partial, np.dtype(f"<u{2 if dtype == 'uint16' else 4}"), shard_tokens)
        for number, document in enumerate(documents):
            ids = np.asarray(document, dtype=np.int64)
            if ids.size and not 0 <= ids.min() <= ids.max() < vocabulary:
                raise DataError(
                    what=f"document {number} of {dataset} holds token ids from {ids.min()} to {ids.max()}",
                    why=f"the vocabulary has {vocabulary} entries",
                    fix="tokenise with the tokenizer that the vocabulary is of",
                )
            stream.add(ids)
        stream.end()
        if not stream.starts[-1]:
            raise without_rows(dataset, {"empty documents": len(stream.starts) - 1})
        np.save(partial / INDEX, np.array(stream.starts, dtype=np.int64))
        np.save(partial / BLOCKS, np.array(stream.digests, dtype=np.uint64))
        paths = [*stream.paths, partial / INDEX, partial / BLOCKS]
        manifest = TokenManifest(
            dataset=dataset,
            source=dict(source),
            licence=licence,
            tokenizer=tokenizer,
            vocabulary=vocabulary,
            dtype=dtype,
            tokens=stream.starts[-1],
            documents=len(stream.starts) - 1,
            files=tuple(TokenFile(path.name, path.stat().st_size, digest_file(path)) for path in paths),
        )
        write_document(partial / NAME, SCHEMA, asdict(manifest))
    return manifest


class _Stream:
    """Ids on their way into shards. starts: where every document begins, and the end so far."""

    def __init__(self, directory: Path, dtype: np.dtype[Any], shard_tokens: int) -> None:
        self._directory, self._dtype, self._shard_tokens = directory, dtype, shard_tokens
        self._waiting: list[NDArray[Any]] = []
        self._held = 0
        # Corpora have millions of documents, and a list of numbers takes five times as much.
        self.starts, self.digests, self.paths = array("q", [0]), list[int](), list[Path]()

    def add(self, ids: NDArray[np.int64]) -> None:
        self.starts.append(self.starts[-1] + ids.size)
        while ids.size:
            part, ids = np.split(ids, [self._shard_tokens - self._held])
            self._waiting.append(part.astype(self._dtype))
            self._held += part.size
            if self._held == self._shard_tokens:
                self.end()

    def end(self) -> None:
        """Write what waits as a shard."""
        if not self._held:
            return
        data = np.concatenate(self._waiting).tobytes()
        path = self._directory / f"tokens-{len(self.paths):05d}.bin"
        path.write_bytes(data)
        self.paths.append(path)
        self.digests += [xxh3_64_intdigest(data[at : at + BLOCK_BYTES]) for at in range(0, len(data), BLOCK_BYTES)]
        self._waiting, self._held = [], 0
