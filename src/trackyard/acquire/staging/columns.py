"""Columns that hold images: `{bytes, path}` structs as `datasets` stores them, and texts that are absolute image paths.

A leaf is the way to a value through structs and lists: ("messages", "[]", "image"). Source: nine-datasets section 3.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trackyard.acquire.staging.tables import Table

Leaf = tuple[str, ...]
Kind = Literal["image", "text"]
EACH = "[]"
"""Stands in a leaf for every item of a list."""

SUFFIXES = ("jpg", "jpeg", "png", "gif", "bmp", "webp", "tif", "tiff")
# Only absolute ones: addresses and bare names end in a suffix too, and no reader of the cache opens them as files.
IMAGE_PATH = rf"^/[^\n]*\.({'|'.join(SUFFIXES)})$"
IMAGE_NAME = re.compile(rf"\.({'|'.join(SUFFIXES)})$", re.IGNORECASE)
IMAGE_TYPE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def is_image_struct(kind: Any) -> bool:
    """True for the storage type of a `datasets.Image`."""
    return pa.types.is_struct(kind) and {field.name for field in kind} == {"bytes", "path"}


def is_text(kind: Any) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def is_list(kind: Any) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind))


def leaves(schema: Any) -> Iterator[tuple[Leaf, Kind]]:
    """Every leaf that may hold an image or a path, in the order of the columns."""
    for field in schema:
        yield from _leaves(field.type, (field.name,))


def _leaves(kind: Any, leaf: Leaf) -> Iterator[tuple[Leaf, Kind]]:
    if is_image_struct(kind):
        yield leaf, "image"
    elif is_text(kind):
        yield leaf, "text"
    elif is_list(kind):
        yield from _leaves(kind.value_type, (*leaf, EACH))
    elif pa.types.is_struct(kind):
        for field in kind:
            yield from _leaves(field.type, (*leaf, field.name))


def values_at(array: Any, leaf: Leaf) -> Any:
    """All values of a leaf below `array`, flat and in order; leaf: what follows the column's name."""
    for part in leaf:
        array = array.flatten() if part == EACH else pc.struct_field(array, part)
    return array


def row_sums(array: Any, leaf: Leaf, measure: Callable[[Any], Any]) -> Any:
    """For each row of `array` the sum (int64) of what `measure` gives for the values of a leaf."""
    if not leaf:
        return measure(array)
    if leaf[0] != EACH:
        return row_sums(pc.struct_field(array, leaf[0]), leaf[1:], measure)
    lengths = pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False)
    sums = np.concatenate([[0], np.cumsum(row_sums(array.flatten(), leaf[1:], measure))])
    ends = np.cumsum(lengths)
    return sums[ends] - sums[ends - lengths]


def is_image_path(array: Any) -> Any:
    """Mask of texts that are absolute image paths; null gives false."""
    return pc.fill_null(pc.match_substring_regex(array, IMAGE_PATH, ignore_case=True), False)


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageColumns:
    """images: leaves of `{bytes, path}`. paths: leaves of texts that are all image paths. mixed: leaves where some
    are, with how many of how many: they are taken as text."""

    images: tuple[Leaf, ...]
    paths: tuple[Leaf, ...]
    mixed: tuple[tuple[Leaf, int, int], ...] = ()


def image_columns(table: Table) -> ImageColumns:
    """Which leaves of a split hold images. DataError where its files cannot be read."""
    images: list[Leaf] = []
    counted: dict[Leaf, list[int]] = {}
    for leaf, kind in leaves(table.schema):
        if kind == "image":
            images.append(leaf)
        else:
            counted[leaf] = [0, 0]
    for batch in table.batches():
        for leaf, counts in counted.items():
            texts = values_at(batch.column(leaf[0]), leaf[1:])
            filled = pc.sum(pc.greater(pc.binary_length(texts), 0)).as_py() or 0
            counts[0] += pc.sum(is_image_path(texts)).as_py() or 0
            counts[1] += filled
    return ImageColumns(
        images=tuple(images),
        paths=tuple(leaf for leaf, (paths, filled) in counted.items() if 0 < paths == filled),
        mixed=tuple((leaf, paths, filled) for leaf, (paths, filled) in counted.items() if 0 < paths < filled),
    )


def stored_paths(values: Any) -> Any:
    """The paths that a leaf's values point to: the texts themselves, or the path of a struct without bytes."""
    if is_text(values.type):
        return pc.if_else(pc.greater(pc.binary_length(values), 0), values, None)
    return pc.if_else(pc.is_null(pc.struct_field(values, "bytes")), pc.struct_field(values, "path"), None)


def is_there(values: Any) -> Any:
    """int64 for each value of a leaf: 1 where an image is stored or pointed to."""
    if not is_text(values.type):
        stored = pc.is_valid(pc.struct_field(values, "bytes"))
        mask = pc.or_(stored, pc.is_valid(pc.struct_field(values, "path")))
    else:
        mask = pc.is_valid(stored_paths(values))
    return mask.to_numpy(zero_copy_only=False).astype(np.int64)


def embedded_schema(schema: Any, columns: ImageColumns) -> Any:
    """The schema with every path leaf turned into `{bytes, path}`, and told to `datasets` as an image."""
    fields = [field.with_type(_embedded_type(field.type, (field.name,), columns)) for field in schema]
    metadata = dict(schema.metadata or {})
    if b"huggingface" in metadata:
        told = json.loads(metadata[b"huggingface"])
        features = told.get("info", {}).get("features", {})
        for leaf in columns.paths:
            _tell(features, leaf)
        metadata[b"huggingface"] = json.dumps(told).encode()
    return pa.schema(fields, metadata=metadata or None)


def _embedded_type(kind: Any, leaf: Leaf, columns: ImageColumns) -> Any:
    if leaf in columns.paths:
        return IMAGE_TYPE
    if is_image_struct(kind):
        return kind
    if is_list(kind):
        item = kind.value_field.with_type(_embedded_type(kind.value_type, (*leaf, EACH), columns))
        return pa.large_list(item) if pa.types.is_large_list(kind) else pa.list_(item)
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_embedded_type(field.type, (*leaf, field.name), columns)) for field in kind])
    return kind


def _tell(features: Any, leaf: Leaf) -> None:
    """Replace a text feature by an image feature. A list is [item] or {"feature": item}, by version of `datasets`."""
    for number, part in enumerate(leaf):
        key: Any = part if part != EACH else 0 if isinstance(features, list) else "feature"
        if part != EACH and isinstance(features, dict) and part not in features and "feature" in features:
            features = features["feature"]  # Sequence of a struct, stored as a struct of lists
        if number == len(leaf) - 1:
            features[key] = {"_type": "Image"}
        else:
            features = features[key]
