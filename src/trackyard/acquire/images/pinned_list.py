"""The list of URLs that a directory belongs to: without repetitions, cut into shards, pinned by digest.

It is kept beside the images, so that whatever happens later is decided by what was asked for first.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from blake3 import blake3
from pyarrow.lib import StringBuilder

from trackyard.acquire.images.faces import Faces, faces_of, text_of
from trackyard.acquire.images.markers import command
from trackyard.digest import digest_file
from trackyard.durable import TEMPORARY, fsync_directory, fsync_file
from trackyard.errors import ConfigError, DataError
from trackyard.redact import REDACTED
from trackyard.schema import read_document, write_document

SCHEMA = "trackyard-url-list/1"
DOCUMENT = "list.json"
FILE = "list.parquet"
KEY_BYTES = 16
"""Bytes of a digest by which a URL or an image is known in memory: among a billion, two collide with odds of 1e-21."""

_COLUMNS = pa.schema([("url", pa.string()), ("sha256", pa.string()), ("faces", pa.string())])
_SHA256 = re.compile(r"[0-9a-f]{64}")
_USERINFO = re.compile(r"^([^/?#]*//)[^/?#]*@")
_FACES = 1 << 31
"""In the length of a digest: boxes follow."""
_BEFORE = {"blur_faces": True, "hash_mismatch": "reject"}
"""Rules of lists that were pinned before there were these: they named no faces."""


@dataclass(frozen=True, slots=True)
class UrlRow:
    """An address and the sha256 (hex) that its bytes should have, None if nobody says. faces: to be blurred."""

    url: str
    sha256: str | None = None
    faces: Faces = ()


def listed_url(url: str) -> str:
    """A URL as it is written down: without user and password, which are secrets. It is refused with or without them."""
    return _USERINFO.sub(rf"\g<1>{REDACTED}@", url) if "@" in url else url


def url_key(url: str) -> bytes:
    """KEY_BYTES bytes that stand for a URL."""
    return blake3(listed_url(url).encode()).digest(KEY_BYTES)


def rows_digest(rows: Iterable[UrlRow]) -> str:
    """blake3 of rows in their order, 64 hex characters."""
    hasher = blake3()
    for row in rows:
        _update(hasher, row)
    return hasher.hexdigest()


def _update(hasher: Any, row: UrlRow) -> None:
    url, sha256, faces = row.url.encode(), (row.sha256 or "").encode(), text_of(row.faces).encode()
    hasher.update(struct.pack("<II", len(url), len(sha256) | (_FACES if faces else 0)) + url + sha256)
    if faces:
        hasher.update(struct.pack("<I", len(faces)) + faces)


@dataclass(frozen=True, kw_only=True, slots=True)
class PinnedList:
    """urls: different ones. repeated: rows that name a URL once more. digest: blake3 of all rows as given.

    rules: what else decides the content of the shards; the same in every run. blake3: of the file with the URLs.
    """

    directory: Path
    urls: int
    repeated: int
    digest: str
    urls_per_shard: int
    rules: Mapping[str, Any]
    blake3: str

    @classmethod
    def read(cls, directory: Path) -> PinnedList:
        """The list of a directory; DataError without one."""
        fix = command(directory)
        body = read_document(directory / DOCUMENT, SCHEMA, fix=fix)
        try:
            return cls(
                directory=directory,
                urls=int(body["urls"]),
                repeated=int(body["repeated"]),
                digest=str(body["digest"]),
                urls_per_shard=int(body["urls_per_shard"]),
                rules=_BEFORE | dict(body["rules"]),
                blake3=str(body["file"]["blake3"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                what=f"{directory / DOCUMENT} lacks or misstates {error}",
                why="it says which URLs the images belong to",
                fix=f"rm -r {directory}; then: {fix}",
            ) from error

    @classmethod
    def pin(
        cls, rows: Iterable[UrlRow], directory: Path, *, urls_per_shard: int, rules: Mapping[str, Any]
    ) -> PinnedList:
        """Pin `rows` to `directory`, or prove that they are those pinned there. The caller has the lock.

        ConfigError if the directory belongs to another list or other rules. About 100 bytes per URL are held.
        """
        rules = _BEFORE | dict(rules)
        if (directory / DOCUMENT).is_file():
            pinned = cls.read(directory)
            pinned._check(rows_digest(map(_checked, rows)), urls_per_shard, rules)
            return pinned
        partial = directory / f"{TEMPORARY}{FILE}"
        hasher, seen, total = blake3(), set[bytes](), 0
        with pq.ParquetWriter(partial, _COLUMNS, compression="zstd", write_page_checksum=True) as writer:
            shard: list[UrlRow] = []
            for row in map(_checked, rows):
                total += 1
                _update(hasher, row)
                key = url_key(row.url)
                if key not in seen:
                    seen.add(key)
                    shard.append(row)
                if len(shard) == urls_per_shard:
                    _write(writer, shard)
                    shard = []
            if shard:
                _write(writer, shard)
        if not seen:
            partial.unlink()
            raise DataError(
                what=f"the list for {directory} holds no URL",
                why="nothing can be fetched, and nothing fetched is not a success",
                fix="check the column that the URLs are read from: `trackyard data show NAME`",
            )
        fsync_file(partial)
        partial.replace(directory / FILE)
        fsync_directory(directory)
        pinned = cls(
            directory=directory,
            urls=len(seen),
            repeated=total - len(seen),
            digest=hasher.hexdigest(),
            urls_per_shard=urls_per_shard,
            rules=rules,
            blake3=digest_file(directory / FILE),
        )
        write_document(
            directory / DOCUMENT,
            SCHEMA,
            {
                "urls": pinned.urls,
                "repeated": pinned.repeated,
                "digest": pinned.digest,
                "urls_per_shard": urls_per_shard,
                "rules": pinned.rules,
                "file": {"path": FILE, "blake3": pinned.blake3},
            },
        )
        return pinned

    def _check(self, digest: str, urls_per_shard: int, rules: Mapping[str, Any]) -> None:
        def refuse(what: str) -> ConfigError:
            return ConfigError(
                what=f"{self.directory} belongs to {what}",
                why="shards of both would lie side by side, and neither would be complete",
                fix=f"give what was given first, or another directory; to begin anew: rm -r {self.directory}",
            )

        if digest != self.digest:
            raise refuse(f"another list of URLs (digest {self.digest[:12]}, now {digest[:12]})")
        mine, wanted = (
            {"urls_per_shard": self.urls_per_shard, **self.rules},
            {"urls_per_shard": urls_per_shard, **rules},
        )
        if mine != wanted:
            names = [name for name in wanted if wanted[name] != mine.get(name)]
            raise refuse(", ".join(f"{name}={mine.get(name)!r}, now {wanted[name]!r}" for name in names))

    @property
    def shards(self) -> int:
        return -(-self.urls // self.urls_per_shard)

    def rows_of(self, shard: int) -> tuple[int, int]:
        """(first, end) rows of a shard among the different URLs."""
        return shard * self.urls_per_shard, min(self.urls, (shard + 1) * self.urls_per_shard)

    def shard(self, number: int) -> tuple[UrlRow, ...]:
        """Rows of one shard, in the order of the list."""
        return next(self._shards([number]))

    def _shards(self, numbers: Iterable[int]) -> Iterator[tuple[UrlRow, ...]]:
        path = self.directory / FILE
        try:
            with pq.ParquetFile(path, page_checksum_verification=True) as file:
                for number in numbers:
                    columns = file.read_row_group(number).to_pydict()
                    boxes = columns.get("faces") or [None] * len(columns["url"])
                    yield tuple(map(UrlRow, columns["url"], columns["sha256"], map(faces_of, boxes)))
        except (OSError, pa.ArrowException) as error:
            raise DataError(
                what=f"{path} cannot be read: {error}",
                why="it says which URLs the images belong to",
                fix=f"rm -r {self.directory}; then: {command(self.directory)}",
            ) from error


def _write(writer: Any, rows: list[UrlRow]) -> None:
    # Builders, because pa.array imports pandas: a third of a second before the first request.
    columns = (StringBuilder(), StringBuilder(), StringBuilder())
    boxes = (text_of(row.faces) or None for row in rows)
    values = ((row.url for row in rows), (row.sha256 for row in rows), boxes)
    for column, texts in zip(columns, values, strict=True):
        column.append_values(texts)
    table = pa.Table.from_arrays([column.finish() for column in columns], schema=_COLUMNS)
    writer.write_table(table, row_group_size=len(rows))


def _checked(row: UrlRow) -> UrlRow:
    """`row` as it is pinned: digest in lower case, no password; DataError for what cannot be a row."""
    sha256 = row.sha256.lower() if row.sha256 else None
    problem = None
    if sha256 is not None and not _SHA256.fullmatch(sha256):
        problem = f"sha256 {sha256[:80]!r} is not 64 hexadecimal digits"
    try:
        row.url.encode()
    except UnicodeEncodeError:
        problem = f"{row.url[:80]!a} is not text"
    if problem is not None:
        raise DataError(
            what=f"the list of URLs: {problem}",
            why="no bytes could ever be compared with it, or no address be asked for",
            fix="check the columns that the list is read from: `trackyard data show NAME`",
        )
    return UrlRow(listed_url(row.url), sha256, tuple(tuple(map(float, box)) for box in row.faces))
