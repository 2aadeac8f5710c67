"""What was tokenised of a stream of documents so far, on the device: after a kill, that much is not done again.

Chunks of ids in the order of the stream, each written whole. Source: issue on the Pile-FFN track ("resumable after
kill -9 with identical shards").
"""

from __future__ import annotations

import io
import shutil
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trackyard.durable import sweep, write_atomic
from trackyard.errors import DataError
from trackyard.recipes.pile_ffn.text.document_ids import ID_BYTES
from trackyard.recipes.pile_ffn.text.documents import Document, Tokenised

CHUNK_TOKENS = 1 << 22
"""Tokens of a chunk, 17 MB: some seconds of work."""

Encode = Callable[[Iterable[Document]], Iterator[Tokenised]]


class TokenProgress:
    """The chunks of one stream, in a folder of their own. One process at a time."""

    def __init__(self, folder: Path, *, chunk_tokens: int = CHUNK_TOKENS) -> None:
        self._folder, self._chunk_tokens = folder, chunk_tokens
        folder.mkdir(parents=True, exist_ok=True)
        sweep(folder)
        self._names = bytearray()
        self._ids: list[NDArray[np.uint32]] = []
        self._held = 0

    def tokenised(self, documents: Iterable[Document], encode: Encode) -> Iterator[Tokenised]:
        """Every document with its ids: kept ones first, then those of `encode`, which are kept as they come.

        DataError if the stream is not the one that the chunks are of.
        """
        stream = iter(documents)
        chunks = sorted(self._folder.glob("*.npz"))
        for path in chunks:
            yield from _replayed(path, stream)
        for item in encode(stream):
            self._names += item.document.id
            self._ids.append(item.ids.astype(np.uint32))
            self._held += item.ids.size
            yield item
            if self._held >= self._chunk_tokens:
                self.keep()

    def keep(self) -> None:
        """Write what was encoded since the last chunk, for a process that stops here."""
        if self._held:
            self._write(len(list(self._folder.glob("*.npz"))))

    def remove(self) -> None:
        """When what was made of the stream is complete."""
        shutil.rmtree(self._folder)

    def _write(self, number: int) -> None:
        data = io.BytesIO()
        np.savez(
            data,
            names=np.frombuffer(bytes(self._names), dtype=np.uint8),
            lengths=np.array([ids.size for ids in self._ids], dtype=np.int64),
            ids=np.concatenate(self._ids),
        )
        write_atomic(self._folder / f"{number:06d}.npz", data.getvalue())
        self._names, self._ids, self._held = bytearray(), [], 0


def _replayed(path: Path, stream: Iterator[Document]) -> Iterator[Tokenised]:
    try:
        with np.load(path, allow_pickle=False) as file:
            names, lengths, ids = file["names"].tobytes(), file["lengths"], file["ids"]
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise _foreign(path, f"it cannot be read: {error}") from error
    for number, part in enumerate(np.split(ids, np.cumsum(lengths)[:-1])):
        document = next(stream, None)
        if document is None or document.id != names[number * ID_BYTES : (number + 1) * ID_BYTES]:
            raise _foreign(path, f"document {number} is not the one that the files hold there")
        yield Tokenised(document=document, ids=part.astype(np.int64))


def _foreign(path: Path, found: str) -> DataError:
    return DataError(
        what=f"{path}: {found}",
        why="ids of one text would be put down to another",
        fix=f"remove {path.parent}, then repeat the same command: that stream is tokenised anew",
    )
