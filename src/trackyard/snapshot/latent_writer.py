"""Writing latent shards (see `trackyard.snapshot.latent_shards`): once per image, shard after shard, by any processes.

    writer = LatentWriter(directory, facts, images)
    for shard in writer.unfinished()[rank::world]:
        writer.write(shard, encode)
    manifest = writer.assemble()                   # once, when all have written theirs
    Latents(directory, manifest, RESTORE)          # what is to be proved before it counts
    writer.finish(manifest)

Which images share a shard follows from their order alone, and its name from them and the encoder's facts, so processes
need not speak to each other. Latents that lie in other complete shards of the directory are copied, not computed again.
Source: theworld spec section 8.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from trackyard.digest import digest_file, digest_json, short
from trackyard.durable import TEMPORARY, fsync_directory, write_atomic
from trackyard.errors import DataError
from trackyard.schema import write_document
from trackyard.snapshot.latent_facts import EncoderFacts
from trackyard.snapshot.latent_shards import (
    INDEX,
    PLACES,
    RESTORE,
    ROWS,
    SCHEMA,
    LatentFile,
    LatentManifest,
    row_digest,
)
from trackyard.snapshot.manifest import NAME

SHARD_IMAGES = 2048
"""Images of a shard at most: 268,435,456 bytes of 16 x 64 x 64 latents."""

LARGEST = 65_504.0
"""Of 16 bits."""

Encode = Callable[[Sequence[str]], Iterator[NDArray[np.float32]]]
"""Images by digest -> their normalised latents, float32 [n, C, h, w] a batch, in the same order."""


@dataclass(frozen=True, slots=True)
class LatentShard:
    """Images that share a file. name: `latents-` and the digest of encoder and images."""

    name: str
    images: tuple[str, ...]

    @property
    def data(self) -> str:
        return f"{self.name}.f16"

    @property
    def marker(self) -> str:
        return f"{self.name}.parquet"


class LatentWriter:
    """The latents of `images` (blake3, hex, each once), to be written to `directory` by as many processes as one likes.

    shard_images: of a shard. restore: the command that writes them, for errors.
    """

    def __init__(
        self,
        directory: Path,
        facts: EncoderFacts,
        images: Sequence[str],
        *,
        shard_images: int = SHARD_IMAGES,
        restore: str = RESTORE,
    ) -> None:
        if len(set(images)) != len(images):
            raise ValueError("an image is listed twice")
        self.directory, self.facts, self.restore = directory, facts, restore
        groups = (tuple(images[at : at + shard_images]) for at in range(0, len(images), shard_images))
        self.shards = tuple(
            LatentShard(f"latents-{short(digest_json([facts.digest, *group]))}", group) for group in groups
        )

    def unfinished(self) -> list[LatentShard]:
        """Shards that are absent or cut, in order."""
        return [shard for shard in self.shards if not self._is_whole(shard.name)]

    def to_encode(self, shard: LatentShard) -> list[str]:
        """Images of a shard that is to be written which no other complete shard holds, in order."""
        return [image for image in shard.images if self.facts.key(image) not in self._known]

    def write(self, shard: LatentShard, encode: Encode) -> int:
        """Write a shard, its marker last; returns how many images were encoded. Memory: a batch.

        DataError for a latent that is not a number, or too large for 16 bits; ValueError for another count or shape.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        partial = self.directory / f"{TEMPORARY}{shard.data}.{os.getpid()}"
        fresh = self.to_encode(shard)
        try:
            with open(partial, "wb") as handle:
                digests = self._copied(shard, handle.fileno()) | self._encoded(shard, fresh, encode, handle.fileno())
                handle.flush()
                os.fsync(handle.fileno())
            os.replace(partial, self.directory / shard.data)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        fsync_directory(self.directory)
        table = pa.table(
            {
                "image": [bytes.fromhex(image) for image in shard.images],
                "key": [bytes.fromhex(self.facts.key(image)) for image in shard.images],
                "digest": [digests[image] for image in shard.images],
            },
            schema=ROWS,
        )
        _write_table(self.directory / shard.marker, table)
        return len(fresh)

    def assemble(self) -> LatentManifest:
        """Write the index over all shards and return the manifest, which is not written yet. One process.

        DataError naming the shards that are not there.
        """
        lost = self.unfinished()
        if lost:
            raise DataError(
                what=f"{self.directory} lacks {len(lost)} of {len(self.shards)} shards: "
                + ", ".join(shard.name for shard in lost[:8]),
                why="the index is over all images, or training would meet one without a latent",
                fix=self.restore,
            )
        self.directory.mkdir(parents=True, exist_ok=True)
        tables, files = [], []
        for number, shard in enumerate(self.shards):
            table = pq.read_table(self.directory / shard.marker)
            rows = pa.array(np.arange(len(shard.images), dtype=np.int32))
            places = pa.array(np.full(len(shard.images), number, dtype=np.int32))
            tables.append(table.append_column("shard", places).append_column("row", rows))
            path = self.directory / shard.data
            files.append(LatentFile(shard.data, path.stat().st_size, len(shard.images), digest_file(path)))
        index = pa.concat_tables(tables) if tables else PLACES.empty_table()
        _write_table(self.directory / INDEX, index.sort_by("image"))
        path = self.directory / INDEX
        return LatentManifest(
            encoder=self.facts,
            images=index.num_rows,
            shards=tuple(files),
            index=LatentFile(INDEX, path.stat().st_size, index.num_rows, digest_file(path)),
        )

    def finish(self, manifest: LatentManifest) -> None:
        """Write the manifest of `assemble`, then remove shards that are no part of it."""
        write_document(self.directory / NAME, SCHEMA, asdict(manifest))
        named = {shard.name for shard in self.shards}
        for left in self.directory.glob("latents-*"):
            if left.stem not in named:
                left.unlink()

    def _is_whole(self, name: str) -> bool:
        data, marker = self.directory / f"{name}.f16", self.directory / f"{name}.parquet"
        if not marker.is_file() or not data.is_file():
            return False
        rows: int = pq.read_metadata(marker).num_rows
        return data.stat().st_size == rows * self.facts.row_bytes

    @cached_property
    def _known(self) -> dict[str, tuple[str, int, int]]:
        """By key: shard, row and digest of latents in complete shards of other lists. Ours share no image."""
        found: dict[str, tuple[str, int, int]] = {}
        ours = {shard.name for shard in self.shards}
        for marker in sorted(self.directory.glob("latents-*.parquet")):
            if marker.stem not in ours and self._is_whole(marker.stem):
                columns = pq.read_table(marker, columns=["key", "digest"]).to_pydict()
                for row, (key, digest) in enumerate(zip(columns["key"], columns["digest"], strict=True)):
                    found[key.hex()] = marker.stem, row, digest
        return found

    def _copied(self, shard: LatentShard, handle: int) -> dict[str, int]:
        """Digests of images whose latents another shard holds; their bytes are proved on the way."""
        size, digests = self.facts.row_bytes, {}
        for row, image in enumerate(shard.images):
            known = self._known.get(self.facts.key(image))
            if known is None:
                continue
            name, place, digest = known
            path = self.directory / f"{name}.f16"
            with open(path, "rb") as source:
                data = os.pread(source.fileno(), size, place * size)
            if row_digest(data, bytes.fromhex(image)) != digest:
                raise DataError(
                    what=f"{path}: row {place}, image {image}, has changed bytes",
                    why="it would be copied into a shard that is taken for whole",
                    fix=f"rm {path} && {self.restore}",
                )
            os.pwrite(handle, data, row * size)
            digests[image] = digest
        return digests

    def _encoded(self, shard: LatentShard, fresh: Sequence[str], encode: Encode, handle: int) -> dict[str, int]:
        """Digests of images that are encoded now."""
        size, digests = self.facts.row_bytes, dict[str, int]()
        rows = {image: row for row, image in enumerate(shard.images)}
        left = iter(fresh)
        for batch in encode(fresh) if fresh else ():
            if batch.shape[1:] != self.facts.shape:
                raise ValueError(f"latents of shape {batch.shape[1:]}, {self.facts.shape} are declared")
            group = list(islice(left, len(batch)))
            if len(group) != len(batch):
                raise ValueError(f"more latents than the {len(fresh)} images")
            for latent, image in zip(batch, group, strict=True):
                data = _stored(latent, image)
                os.pwrite(handle, data, rows[image] * size)
                digests[image] = row_digest(data, bytes.fromhex(image))
        if len(digests) != len(fresh):
            raise ValueError(f"{len(digests)} latents of {len(fresh)} images")
        return digests


def _stored(latent: NDArray[np.float32], image: str) -> bytes:
    """A latent in 16 bits."""
    largest = float(np.abs(latent).max())
    if not largest < LARGEST:
        raise DataError(
            what=f"the latent of image {image} reaches {largest:g}",
            why="normalised latents are of order 1, and 16 bits end at 65,504: range or statistics are wrong",
            fix="check latents_mean and latents_std in the encoder's config.json, and that its weights are whole",
        )
    return latent.astype("<f2").tobytes()


def _write_table(path: Path, table: pa.Table) -> None:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    write_atomic(path, sink.getvalue().to_pybytes())
