"""Token shards: documents as one stream of token ids in files of little-endian integers, every block checked.

A directory holds `tokens-NNNNN.bin` (uint16 where the vocabulary fits, else uint32), `index.npy` (int64
[documents + 1], where each document begins, and the end), `blocks.npy` (uint64, an xxh3 digest per 64 KiB of each
shard, shard after shard) and `manifest.json`, written last (see `trackyard.snapshot.token_writer`).

What is checked when: blocks.npy against its blake3 when the directory is opened; a block against its digest when a
process first reads from it, and not again if its page is read back later; index.npy when documents are asked for.
Nothing is read in full at the start, however large the shards are. Source: design section 4, pile-ffn spec section 5.
"""

from __future__ import annotations

import mmap
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError
from xxhash import xxh3_64_intdigest

from trackyard.digest import digest_file
from trackyard.errors import DataError
from trackyard.schema import read_document
from trackyard.snapshot.manifest import NAME, RESTORE
from trackyard.snapshot.shard import OPEN_SHARDS
from trackyard.snapshot.shard_map import damaged, map_file

SCHEMA = "trackyard-tokens/1"
BLOCK_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class TokenFile:
    path: str
    bytes: int
    blake3: str


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenManifest:
    """tokenizer: digest of the tokenizer that made the ids. files: the shards in order, then index and blocks."""

    dataset: str
    source: Mapping[str, Any]
    licence: str
    tokenizer: str
    vocabulary: int
    dtype: Literal["uint16", "uint32"]
    tokens: int
    documents: int
    files: tuple[TokenFile, ...]

    @classmethod
    def read(cls, directory: Path, *, restore: str) -> TokenManifest:
        """DataError if there is none, or if it lacks or misstates a field."""
        body = read_document(directory / NAME, SCHEMA, fix=restore)
        try:
            return _ADAPTER.validate_python(body)
        except ValidationError as error:
            first = error.errors()[0]
            raise DataError(
                what=f"{directory / NAME} lacks or misstates {'.'.join(map(str, first['loc']))}: {first['msg']}",
                why="nothing in the directory can be proved without it",
                fix=restore,
            ) from error


_ADAPTER = TypeAdapter(TokenManifest)


class TokenShards:
    """Random access to a stream of tokens. Safe for several threads; another process gets it by pickling.

    Open with `TokenShards.open`.
    """

    def __init__(self, directory: Path, manifest: TokenManifest, restore: str) -> None:
        self.directory, self.manifest, self.restore = directory, manifest, restore
        *self._files, self._index, blocks = manifest.files
        self._dtype = np.dtype(manifest.dtype).newbyteorder("<")
        self._firsts = np.cumsum([0, *(file.bytes // self._dtype.itemsize for file in self._files)])
        self._per_shard = int(self._firsts[1])
        counts = [-(-file.bytes // BLOCK_BYTES) for file in self._files]
        digests = self._proved(blocks)
        if int(self._firsts[-1]) != manifest.tokens or digests.size != sum(counts):
            raise damaged(directory, f"its files hold {self._firsts[-1]} tokens in {sum(counts)} blocks", restore)
        self._digests = np.split(digests, np.cumsum(counts)[:-1])
        self._proven = [bytearray(count) for count in counts]
        self._mapped: dict[int, tuple[mmap.mmap, NDArray[Any]]] = {}
        self._lock = threading.Lock()

    @classmethod
    def open(cls, directory: Path, *, restore: str = RESTORE) -> TokenShards:
        """Read the manifest and the digests of blocks, compare file sizes; no token is read. DataError as `damaged`."""
        manifest = TokenManifest.read(directory, restore=restore)
        for file in manifest.files:
            path = directory / file.path
            if not path.is_file() or path.stat().st_size != file.bytes:
                raise damaged(path, f"it is absent or has not {file.bytes} bytes", restore)
        return cls(directory, manifest, restore)

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.directory, self.manifest, self.restore)

    @property
    def tokens(self) -> int:
        return self.manifest.tokens

    @cached_property
    def starts(self) -> NDArray[np.int64]:
        """Where each document begins, and the end: int64 [documents + 1]."""
        return self._proved(self._index).astype(np.int64)

    def read(self, start: int, out: NDArray[Any]) -> None:
        """Copy tokens `start` … start + len(out) - 1 into `out` [n], of any integer type that holds them.

        IndexError beyond the stream. DataError if a block that they lie in is not the one that was written.
        """
        if not 0 <= start <= start + out.size <= self.manifest.tokens:
            raise IndexError(f"tokens {start} … {start + out.size} of {self.manifest.tokens}")
        done = 0
        while done < out.size:
            shard, at = divmod(start + done, self._per_shard)
            values = self._checked(shard, at, min(out.size - done, self._per_shard - at))
            out[done : done + values.size] = values
            done += values.size

    def batch(self, starts: Iterable[int], length: int) -> NDArray[np.int64]:
        """Windows of `length` tokens as int64 [len(starts), length]."""
        starts = list(starts)
        out = np.empty((len(starts), length), dtype=np.int64)
        for row, start in zip(out, starts, strict=True):
            self.read(start, row)
        return out

    def _checked(self, shard: int, at: int, count: int) -> NDArray[Any]:
        """A view of tokens of one shard whose blocks are proved (fewer at the end of the shard)."""
        memory, values = self._mapped.get(shard) or self._map(shard)
        size = self._dtype.itemsize
        first, last = at * size // BLOCK_BYTES, ((at + count) * size - 1) // BLOCK_BYTES
        proven = self._proven[shard]
        if proven.find(0, first, last + 1) >= 0:
            view = memoryview(memory)
            for block in range(first, last + 1):
                if (
                    xxh3_64_intdigest(view[block * BLOCK_BYTES : (block + 1) * BLOCK_BYTES])
                    != self._digests[shard][block]
                ):
                    path = self.directory / self._files[shard].path
                    raise damaged(path, f"64 KiB block {block} has changed bytes", self.restore)
                proven[block] = 1
        return values[at : at + count]

    def _map(self, shard: int) -> tuple[mmap.mmap, NDArray[Any]]:
        file = self._files[shard]
        path = self.directory / file.path
        try:
            memory = map_file(path, file.bytes)
        except OSError as error:
            raise damaged(path, str(error), self.restore) from error
        with self._lock:
            if len(self._mapped) >= OPEN_SHARDS:
                self._mapped.pop(next(iter(self._mapped)))
            self._mapped[shard] = memory, np.frombuffer(memory, dtype=self._dtype)
            return self._mapped[shard]

    def _proved(self, file: TokenFile) -> NDArray[Any]:
        path = self.directory / file.path
        try:
            found = digest_file(path)
        except OSError as error:
            raise damaged(path, str(error), self.restore) from error
        if found != file.blake3:
            raise damaged(path, f"blake3 {found}, expected {file.blake3}", self.restore)
        array: NDArray[Any] = np.load(path, allow_pickle=False)
        return array
