"""Latent shards: fp16 latents of images, found by the image's digest, every one checked when it is first read.

A directory holds `latents-<name>.f16` (rows of one latent each, little-endian, nothing else: 2,048 of 16 x 64 x 64 are
268,435,456 bytes), beside each `latents-<name>.parquet` (its images, keys and digests; a shard without it does not
count), `index.parquet` (all images in order of their digest) and `manifest.json`, written last. A name follows from the
encoder's facts and the images (see `trackyard.snapshot.latent_writer`), so no shard is ever written over.

What is checked when: facts, sizes of files and the blake3 of the index when the directory is opened; a latent against
its digest when a process first reads it. Source: theworld spec section 8, reliability F27 and F28.
"""

from __future__ import annotations

import mmap
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError
from xxhash import xxh3_64_intdigest

from trackyard.acquire.images.digest_set import Keys, keys_of, positions
from trackyard.acquire.images.pinned_list import KEY_BYTES
from trackyard.digest import digest_file
from trackyard.errors import DataError, IdentityError
from trackyard.schema import read_document
from trackyard.snapshot.latent_facts import EncoderFacts
from trackyard.snapshot.manifest import NAME
from trackyard.snapshot.shard import OPEN_SHARDS
from trackyard.snapshot.shard_map import damaged, map_file

SCHEMA = "trackyard-latents/1"
INDEX = "index.parquet"
RESTORE = "trackyard run datacomp latents"
"""Encodes what is missing, and nothing else."""
NAMED = 8
"""Images that an error names; `Latents.missing` gives all."""

ROWS = pa.schema([("image", pa.binary(32)), ("key", pa.binary(32)), ("digest", pa.uint64())])
"""Of a shard, in its order. image: blake3 of the stored image; key: see `EncoderFacts.key`; digest: `row_digest`."""
PLACES = pa.schema([*ROWS, ("shard", pa.int32()), ("row", pa.int32())])
"""Of all images, in the order of their digests. shard: number in the manifest."""


@dataclass(frozen=True, slots=True)
class LatentFile:
    path: str
    bytes: int
    rows: int
    blake3: str


@dataclass(frozen=True, kw_only=True, slots=True)
class LatentManifest:
    """shards: the files of latents. index: INDEX. images: rows of the index."""

    encoder: EncoderFacts
    images: int
    shards: tuple[LatentFile, ...]
    index: LatentFile

    @property
    def bytes(self) -> int:
        """Of all latents."""
        return sum(shard.bytes for shard in self.shards)

    @classmethod
    def read(cls, directory: Path, *, restore: str) -> LatentManifest:
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


_ADAPTER = TypeAdapter(LatentManifest)


def row_digest(latent: bytes | memoryview, image: bytes) -> int:
    """xxh3 of a latent's bytes, seeded by the image's digest, so that no other image's latent passes for it."""
    return xxh3_64_intdigest(latent, int.from_bytes(image[:8], "big"))


class Latents:
    """The latents of images, by digest. 32 bytes per image are held. Safe for threads; another process pickles it.

    Open with `Latents.open`.
    """

    def __init__(self, directory: Path, manifest: LatentManifest, restore: str) -> None:
        self.directory, self.manifest, self.restore = directory, manifest, restore
        self.facts = manifest.encoder
        self._keys, self._shards, self._rows, self._digests = _index(directory, manifest, restore)
        self._proven = bytearray(manifest.images)
        self._mapped: dict[int, tuple[mmap.mmap, NDArray[np.float16]]] = {}
        self._lock = threading.Lock()

    @classmethod
    def open(cls, directory: Path, wanted: EncoderFacts, *, restore: str = RESTORE) -> Latents:
        """Latents of the wanted encoder. restore: command that makes what is missing.

        IdentityError if they were made otherwise, with what differs; DataError if the directory is not complete, with
        the shards that are missing.
        """
        manifest = LatentManifest.read(directory, restore=restore)
        differences = manifest.encoder.differences(wanted)
        if differences:
            raise IdentityError(
                what=f"{directory} holds latents of another encoder: {'; '.join(differences)}",
                why="there is what made them; a projector would be trained or judged on another input than is stated",
                fix=f"{restore}   (encodes all images again), or ask for the encoder of that directory",
            )
        lost = [shard for shard in manifest.shards if not _has_size(directory / shard.path, shard.bytes)]
        if lost:
            images, names = sum(shard.rows for shard in lost), ", ".join(shard.path for shard in lost[:NAMED])
            raise DataError(
                what=f"{directory} lacks {len(lost)} of {len(manifest.shards)} shards, or they are cut ({images:,} of "
                f"{manifest.images:,} latents): {names}{', …' if len(lost) > NAMED else ''}",
                why="their images would have no latent; scratch file systems remove old files",
                fix=restore,
            )
        return cls(directory, manifest, restore)

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.directory, self.manifest, self.restore)

    def __len__(self) -> int:
        return self.manifest.images

    def __contains__(self, image: str) -> bool:
        return not self.missing([image])

    def missing(self, images: Iterable[str]) -> list[str]:
        """Those that have no latent here, in their order."""
        asked = list(images)
        return [image for image, place in zip(asked, self._positions(asked), strict=True) if place < 0]

    def require(self, images: Iterable[str]) -> None:
        """DataError that counts and names the images without a latent; before anything is computed, it costs little."""
        asked = list(images)
        absent = self.missing(asked)
        if absent:
            raise self._absent(absent, len(asked))

    def find(self, image: str) -> NDArray[np.float16]:
        """The latent of an image, float16 [C, h, w], read-only, where it lies in the file.

        image: blake3 of its stored bytes, hex. DataError if there is none, or if its bytes have changed.
        """
        place = int(self._positions([image])[0])
        if place < 0:
            raise self._absent([image], 1)
        return self._checked(place, image)

    def many(self, images: Sequence[str]) -> NDArray[np.float16]:
        """A copy of the latents of several images, float16 [n, C, h, w]."""
        self.require(images)
        out = np.empty((len(images), *self.facts.shape), dtype="<f2")
        for row, image, place in zip(out, images, self._positions(images).tolist(), strict=True):
            row[:] = self._checked(place, image)
        return out

    def _positions(self, images: Sequence[str]) -> NDArray[np.int64]:
        return positions(self._keys, keys_of([bytes.fromhex(image) for image in images]))

    def _checked(self, place: int, image: str) -> NDArray[np.float16]:
        shard, row, size = int(self._shards[place]), int(self._rows[place]), self.facts.row_bytes
        memory, rows = self._mapped.get(shard) or self._map(shard)
        if not self._proven[place]:
            found = row_digest(memoryview(memory)[row * size : (row + 1) * size], bytes.fromhex(image))
            if found != self._digests[place]:
                path = self.directory / self.manifest.shards[shard].path
                raise damaged(path, f"row {row}, image {image}, has changed bytes", f"rm {path} && {self.restore}")
            self._proven[place] = 1
        latent: NDArray[np.float16] = rows[row]
        return latent

    def _map(self, shard: int) -> tuple[mmap.mmap, NDArray[np.float16]]:
        file = self.manifest.shards[shard]
        path = self.directory / file.path
        try:
            memory = map_file(path, file.bytes)
        except OSError as error:
            raise damaged(path, str(error), self.restore) from error
        with self._lock:
            if len(self._mapped) >= OPEN_SHARDS:
                self._mapped.pop(next(iter(self._mapped)))
            rows = np.frombuffer(memory, dtype="<f2").reshape(file.rows, *self.facts.shape)
            self._mapped[shard] = memory, rows
            return self._mapped[shard]

    def _absent(self, images: Sequence[str], asked: int) -> DataError:
        names = ", ".join(images[:NAMED]) + (", …" if len(images) > NAMED else "")
        return DataError(
            what=f"{self.directory} has no latent of {len(images):,} of {asked:,} images: {names}",
            why="a missing latent is never replaced by another or by zeros",
            fix=self.restore,
        )


def _has_size(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size


def _index(
    directory: Path, manifest: LatentManifest, restore: str
) -> tuple[Keys, NDArray[np.int32], NDArray[np.int32], NDArray[np.uint64]]:
    path = directory / manifest.index.path
    try:
        found = digest_file(path)
        if found != manifest.index.blake3:
            raise damaged(path, f"blake3 {found}, expected {manifest.index.blake3}", restore)
        # Not read_table, which imports pandas for half a second.
        with pq.ParquetFile(path) as file:
            table = file.read(columns=["image", "shard", "row", "digest"]).combine_chunks()
    except (OSError, pa.ArrowException) as error:
        raise damaged(path, str(error), restore) from error
    images = table["image"].combine_chunks()
    # A view of Arrow's bytes: a Python object for each of millions of images would take longer than the first step.
    digests = np.frombuffer(images.buffers()[1] or b"", dtype=np.uint8).reshape(-1, 32)[: len(images)]
    keys: Keys = np.ascontiguousarray(digests[:, :KEY_BYTES]).view(f"S{KEY_BYTES}").ravel()
    return keys, table["shard"].to_numpy(), table["row"].to_numpy(), table["digest"].to_numpy()
