"""Turning paths in rows into image bytes, or into paths below another root; and the digest of what images hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from blake3 import blake3

from trackyard.acquire.staging.closure import FileFact
from trackyard.acquire.staging.columns import EACH, ImageColumns, Leaf
from trackyard.errors import DataError

Change = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Embedder:
    """Reads the files that rows point to. references: stored path -> file."""

    references: Mapping[str, FileFact]

    def text(self, value: Any) -> Any:
        """A stored path as `{bytes, path}`; the path kept is that below its root."""
        if not value:
            return None
        fact = self.references[value]
        return {"bytes": self._read(fact), "path": fact.placed.relative}

    def struct(self, value: Any) -> Any:
        """`{bytes, path}` with the bytes filled in where they lie in a file."""
        if value is None or value["bytes"] is not None or value["path"] is None:
            return value
        return self.text(value["path"])

    def _read(self, fact: FileFact) -> bytes:
        try:
            data = fact.placed.path.read_bytes()
        except OSError as error:
            raise _changed(f"{fact.placed.path}: {error.strerror}") from error
        if len(data) != fact.bytes:
            raise _changed(f"{fact.placed.path} has {len(data):,} bytes, {fact.bytes:,} when it was planned")
        return data


def _changed(what: str) -> DataError:
    return DataError(
        what=what,
        why="the source changed or was purged while it was copied",
        fix="bring the file back and run the same command again: what is staged already stays",
    )


@dataclass(frozen=True, slots=True)
class Mover:
    """Rewrites stored paths. moved: stored path -> path at the target."""

    moved: Mapping[str, str]

    def text(self, value: Any) -> Any:
        return self.moved[value] if value else value

    def struct(self, value: Any) -> Any:
        if value is None or value["bytes"] is not None or value["path"] is None:
            return value
        return {"bytes": None, "path": self.moved[value["path"]]}


def changed_batch(batch: Any, schema: Any, columns: ImageColumns, by: Embedder | Mover) -> Any:
    """The batch under `schema`, with every image leaf passed through `by`; other columns keep their buffers."""
    arrays = []
    for field in schema:
        array = batch.column(field.name)
        mine = [(leaf, by.struct) for leaf in columns.images if leaf[0] == field.name]
        mine += [(leaf, by.text) for leaf in columns.paths if leaf[0] == field.name]
        if mine:
            values = array.to_pylist()
            for leaf, change in mine:
                values = [_at(value, leaf[1:], change) for value in values]
            array = pa.array(values, type=field.type)
        arrays.append(array)
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _at(value: Any, leaf: Leaf, change: Change) -> Any:
    if not leaf:
        return change(value)
    if value is None:
        return None
    if leaf[0] == EACH:
        return [_at(item, leaf[1:], change) for item in value]
    return value | {leaf[0]: _at(value[leaf[0]], leaf[1:], change)}


class ImageDigest:
    """blake3 over the images of rows in order: which are there, and their bytes. Says whether two copies hold the same
    images in the same order."""

    def __init__(self, columns: ImageColumns) -> None:
        self._leaves = (*columns.images, *columns.paths)
        self._hasher = blake3()

    def add(self, batch: Any) -> None:
        """Take the rows of a batch whose images are inside."""
        for leaf in self._leaves:
            for value in batch.column(leaf[0]).to_pylist():
                _at(value, leaf[1:], self._image)
        self._hasher.update(f"{batch.num_rows} rows".encode())

    def hexdigest(self) -> str:
        return self._hasher.hexdigest()

    def _image(self, value: Any) -> Any:
        data = value["bytes"] if value else None
        self._hasher.update(b"none" if data is None else f"{len(data)}:".encode())
        if data is not None:
            self._hasher.update(data)
        return value
