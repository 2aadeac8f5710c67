"""Items of the evaluation sets as a table: pictures, question, options, gold answer.

A picture is what both visual branches see: the regions of SpatialRGPT-Bench are in it already. Where it was drawn on,
the picture as it was published is kept beside it, for the search for training images that are the same.
Source: theworld spec section 12.1.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from trackyard.digest import canonical_json, digest_bytes, digest_file
from trackyard.errors import DataError
from trackyard.recipes.datacomp.results import PIPELINE
from trackyard.recipes.datacomp.study import Study

COLUMNS = pa.schema(
    [
        ("id", pa.string()),
        ("task", pa.string()),
        ("images", pa.list_(pa.binary())),
        ("undrawn", pa.list_(pa.binary())),
        ("pictures", pa.list_(pa.string())),
        ("question", pa.string()),
        ("options", pa.list_(pa.string())),
        ("gold", pa.string()),
        ("meta", pa.string()),
    ]
)
GROUP_ROWS = 32
"""Items that are read at a time: each may bring four pictures of a megabyte."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """A question about one or more encoded pictures. options: answers to choose from, empty where it is free.

    gold: the right option as it is written there, or the right free answer. meta: what its scorer needs besides.
    undrawn: the published pictures, where `images` were drawn on.
    """

    id: str
    task: str
    images: tuple[bytes, ...]
    question: str
    options: tuple[str, ...]
    gold: str
    meta: Mapping[str, Any]
    undrawn: tuple[bytes, ...] = ()

    @property
    def pictures(self) -> tuple[str, ...]:
        """blake3 of each image, hex: the names of their latents."""
        return tuple(digest_bytes(image) for image in self.images)


def write_items(path: Path, items: Iterator[Item], *, refuse: Callable[[Item], str | None]) -> int:
    """Write a table and return its number of items. refuse: what is wrong with an item, if anything.

    DataError for an item that is refused, without a picture, or with another's id; and where there is none.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    names: set[str] = set()
    waiting: list[dict[str, Any]] = []
    with pq.ParquetWriter(path, COLUMNS, compression="none", write_page_checksum=True) as writer:
        for item in items:
            wrong = refuse(item) or ("" if item.images else "it has no picture")
            if wrong or item.id in names:
                raise DataError(
                    what=f"item {item.id!r} of {path.parent.name}: {wrong or 'its id is that of another item'}",
                    why="an item that cannot be scored would count as wrong for every model",
                    fix="see what the source holds; an item is never left out without being counted",
                )
            names.add(item.id)
            waiting.append(_row(item))
            if len(waiting) == GROUP_ROWS:
                writer.write_table(pa.Table.from_pylist(waiting, COLUMNS))
                waiting = []
        if waiting:
            writer.write_table(pa.Table.from_pylist(waiting, COLUMNS))
    if not names:
        raise DataError(
            what=f"no item for {path.parent.name}",
            why="a score over nothing would be no score",
            fix="correct datacomp.evaluation in params.yaml",
        )
    return len(names)


def read_items(path: Path) -> Iterator[Item]:
    """Items in their order, a few in memory at a time. DataError if the table is absent or damaged."""
    for row in _rows(path, COLUMNS.names):
        yield Item(
            id=row["id"],
            task=row["task"],
            images=tuple(row["images"]),
            question=row["question"],
            options=tuple(row["options"]),
            gold=row["gold"],
            meta=json.loads(row["meta"]),
            undrawn=tuple(row["undrawn"]),
        )


def pictures_of(path: Path) -> list[str]:
    """Names of the distinct pictures of a set, in the order in which they first occur; pictures are not read."""
    return list(dict.fromkeys(name for row in _rows(path, ["pictures"]) for name in row["pictures"]))


def items_digest(path: Path) -> str:
    """blake3 of a table. DataError if it is absent."""
    try:
        return digest_file(path)
    except OSError as error:
        raise _unreadable(path, error) from error


def eval_pictures(study: Study) -> Iterator[tuple[str, bytes]]:
    """(blake3 in hex, encoded picture) of every distinct picture of all sets, as both visual branches see them."""
    yield from _distinct(study, "images")


def undrawn_pictures(study: Study) -> Iterator[tuple[str, bytes]]:
    """The same of the published pictures that were drawn on: what a training image could be a copy of."""
    yield from _distinct(study, "undrawn")


def _distinct(study: Study, column: str) -> Iterator[tuple[str, bytes]]:
    seen: set[bytes] = set()
    for name in study.parameters.evaluation.sets:
        for row in _rows(study.items(name), [column]):
            for image in row[column]:
                digest = digest_bytes(image)
                if bytes.fromhex(digest) not in seen:
                    seen.add(bytes.fromhex(digest))
                    yield digest, image


def _row(item: Item) -> dict[str, Any]:
    return {
        "id": item.id,
        "task": item.task,
        "images": list(item.images),
        "undrawn": list(item.undrawn),
        "pictures": list(item.pictures),
        "question": item.question,
        "options": list(item.options),
        "gold": item.gold,
        "meta": canonical_json(dict(item.meta)).decode(),
    }


def _rows(path: Path, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            for group in range(file.num_row_groups):
                yield from file.read_row_group(group, columns=list(columns), use_threads=False).to_pylist()
    except (OSError, pa.ArrowException, KeyError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> DataError:
    return DataError(
        what=f"the items in {path} cannot be read: {error}",
        why="an evaluation without its items has no score",
        fix=f"dvc repro {PIPELINE}:eval_data",
    )
