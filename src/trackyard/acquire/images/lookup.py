"""Random access to fetched images by URL, from indexes in memory, and the proof of their files."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from trackyard.acquire.images.digest_set import Keys, keys_of, positions
from trackyard.acquire.images.markers import Marker, all_attempts, command
from trackyard.acquire.images.outcomes import CAUSES, OK, ledger
from trackyard.acquire.images.pinned_list import DOCUMENT, FILE, KEY_BYTES, PinnedList, url_key
from trackyard.acquire.images.shards import GROUP, damaged, read_outcomes
from trackyard.digest import digest_file
from trackyard.errors import DataError

FOOTERS = 32
"""Footers that are kept parsed; that of 4,096 images takes about 1 MB."""
_CODES = {name: code for code, name in enumerate((OK, *CAUSES))}
_NAMES = tuple(_CODES)
_LOST = -1


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredImage:
    """An image as it is stored. width, height: pixels as displayed. blake3: hex, of `bytes`. sha256: hex, of what the
    server delivered, which is something else where the image was scaled down."""

    bytes: bytes
    width: int
    height: int
    blake3: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Lost:
    """A URL without an image. cause: one of trackyard.acquire.images.outcomes.CAUSES."""

    cause: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ImagesVerification:
    """What a verification read. problems: one line for each thing that is not what its marker or the list says."""

    shards: int
    files: int
    bytes: int
    problems: tuple[str, ...]

    @property
    def ok(self) -> bool:
        return not self.problems


@dataclass(frozen=True, slots=True)
class _Index:
    """Sorted keys of all URLs, and for each its outcome, the part that holds its image and the image's row there.

    keys: [urls]; codes: int16 [urls] into _NAMES; parts, rows: int32 [urls], _LOST without an image.
    """

    keys: Keys
    codes: NDArray[np.int16]
    parts: NDArray[np.int32]
    rows: NDArray[np.int32]


class UrlImages:
    """The images of a finished list, found by URL. About 26 bytes per URL are held."""

    def __init__(self, directory: Path, markers: list[Marker], index: _Index) -> None:
        self.directory = directory
        self._markers, self._index = markers, index
        self._footers: OrderedDict[int, pq.FileMetaData] = OrderedDict()
        self._group: tuple[int, int, pa.Table] | None = None

    @classmethod
    def open(cls, directory: Path) -> UrlImages:
        """Read the outcomes of all parts. DataError if the list is not finished, or a part is absent or damaged."""
        found = ledger(directory)
        if not found.complete:
            raise DataError(
                what=f"{directory}: {found.attempted:,} of {found.total:,} URLs have an outcome",
                why="a URL that nobody has asked for yet is not one without an image",
                fix=command(directory),
            )
        shards = PinnedList.read(directory).shards
        markers = [marker for attempts in all_attempts(directory, shards) for marker in attempts]
        return cls(directory, markers, _index(directory, markers))

    def __len__(self) -> int:
        """URLs that have an image; several may have the same one."""
        return int((self._index.parts != _LOST).sum())

    def find(self, url: str) -> StoredImage | Lost:
        """The image of a URL, that of another URL if the bytes were the same. DataError if the list lacks the URL."""
        place = int(positions(self._index.keys, keys_of([url_key(url)]))[0])
        if place < 0:
            raise DataError(
                what=f"{url:.200} is not in the list of {self.directory}",
                why="nobody has asked for it, so nothing can be said about its image",
                fix=f"compare the column of URLs with the one that was fetched; to fetch anew: rm -r {self.directory}; "
                f"then: {command(self.directory)}",
            )
        part, row = int(self._index.parts[place]), int(self._index.rows[place])
        if part == _LOST:
            return Lost(_NAMES[self._index.codes[place]])
        number, offset = divmod(row, GROUP)
        values = self._read(part, number).slice(offset, 1).to_pylist()[0]
        return StoredImage(
            bytes=values["bytes"],
            width=values["width"],
            height=values["height"],
            blake3=values["blake3"].hex(),
            sha256=values["sha256"].hex(),
        )

    def verify(self) -> ImagesVerification:
        """`verify_images` of this directory."""
        return verify_images(self.directory)

    def _read(self, part: int, number: int) -> pa.Table:
        """One row group; the last one is kept, since records come in the order of their list."""
        # Read once: another thread may put its own there between a look and a second one.
        kept = self._group
        if kept is not None and kept[:2] == (part, number):
            return kept[2]
        marker = self._markers[part]
        path = self.directory / marker.part.images
        try:
            footer = self._footers.pop(part, None) or pq.read_metadata(path)
            # A file opened per read survives a fork; its footer is not parsed again.
            with pq.ParquetFile(path, metadata=footer, page_checksum_verification=True, pre_buffer=False) as file:
                table = file.read_row_group(number, use_threads=False)
        except (OSError, pa.ArrowException) as error:
            raise damaged(self.directory, marker.part, f"images cannot be read: {error}") from error
        self._footers[part] = footer
        if len(self._footers) > FOOTERS:
            self._footers.popitem(last=False)
        self._group = part, number, table
        return table


def _index(directory: Path, markers: list[Marker]) -> _Index:
    """Outcomes of all parts by URL; those of a later attempt replace those of an earlier one."""
    keys, codes, parts, rows, digests = [], [], [], [], []
    for number, marker in enumerate(markers):
        table = read_outcomes(directory, marker, ("key", "outcome", "sha256")).to_pydict()
        code = np.array([_CODES[outcome] for outcome in table["outcome"]], dtype=np.int16)
        stored = code == _CODES[OK]
        keys.append(keys_of(table["key"]))
        codes.append(code)
        parts.append(np.where(stored, number, _LOST).astype(np.int32))
        rows.append(np.where(stored, np.cumsum(stored) - 1, _LOST).astype(np.int32))
        digests.append(keys_of([digest or bytes(KEY_BYTES) for digest in table["sha256"]]))
    all_keys, all_codes = np.concatenate(keys), np.concatenate(codes)
    all_parts, all_rows, all_digests = np.concatenate(parts), np.concatenate(rows), np.concatenate(digests)
    # The image that a duplicate stands for lies where its digest was accepted.
    stored_at = np.flatnonzero(all_codes == _CODES[OK])
    stored_at = stored_at[np.argsort(all_digests[stored_at], kind="stable")]
    copies = np.flatnonzero(all_codes == _CODES["duplicate"])
    found = positions(all_digests[stored_at], all_digests[copies])
    copies, originals = copies[found >= 0], stored_at[found[found >= 0]]
    all_parts[copies], all_rows[copies] = all_parts[originals], all_rows[originals]
    order = np.argsort(all_keys, kind="stable")
    latest = order[np.append(all_keys[order][1:] != all_keys[order][:-1], True)]
    return _Index(all_keys[latest], all_codes[latest], all_parts[latest], all_rows[latest])


def verify_images(directory: Path) -> ImagesVerification:
    """Read every file of a directory and compare it with its marker; DataError if the list itself is absent."""
    pinned = PinnedList.read(directory)
    again = command(directory)
    problems: list[str] = []
    if not (directory / FILE).is_file() or digest_file(directory / FILE) != pinned.blake3:
        problems.append(f"{directory / FILE}: not the file that {DOCUMENT} names; rm -r {directory}; then: {again}")
    shards = files = size = 0
    for shard, attempts in enumerate(all_attempts(directory, pinned.shards)):
        shards += bool(attempts)
        if not attempts:
            problems.append(f"shard {shard}: not finished, or a file is absent or cut; {again}")
        for marker in attempts:
            for file in (marker.images, marker.outcomes):
                files, size = files + 1, size + file.bytes
                if digest_file(directory / file.path) != file.blake3:
                    problems.append(str(damaged(directory, marker.part, f"{file.path} has other bytes")))
    return ImagesVerification(shards=shards, files=files, bytes=size, problems=tuple(problems))
