"""Records of a Parquet file that nobody vouches for: declared sizes are refused before anything is decoded.

Source: reliability spec F7 and section 6, "bombs".
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from trackyard.acquire.importing.mapping import ImportMapping
from trackyard.acquire.importing.records import INVALID_UTF8, Only, Record, UnusableRecord
from trackyard.errors import DataError

BATCH_ROWS = 64
"""Rows decoded at a time, at most."""
BATCH_BYTES = 32_000_000
"""Bytes decoded at a time, by the mean row that the footer declares; one row is always read."""
READ_AHEAD = 1_000_000
"""Bytes of a column that are read from disk at a time."""
MAX_GROUP_BYTES = 8_000_000_000
"""Largest row group, decoded: ten times the largest that the known sets have."""
MAX_EXPANSION = 500
"""Most that the columns of a row group may grow when decoded. Texts compress to a fifth, seldom to a fiftieth."""
SMALL_GROUP = 256_000_000
"""Below this, a row group may expand as it likes: it fits into memory."""


@dataclass(frozen=True, slots=True)
class Group:
    """A row group. bytes: as stored; first: rows of the file before it."""

    rows: int
    bytes: int
    first: int


def table_groups(path: Path, mapping: ImportMapping) -> list[Group]:
    """Row groups of a file, of which only the footer is read. DataError as of `read_table`."""
    with _opened(path) as file:
        _checked_columns(file.schema_arrow, path, mapping)
        groups, first = [], 0
        for number in range(file.metadata.num_row_groups):
            group = file.metadata.row_group(number)
            stored = sum(group.column(k).total_compressed_size for k in range(group.num_columns))
            groups.append(Group(group.num_rows, stored, first))
            first += group.num_rows
    return groups


def read_table(
    path: Path, mapping: ImportMapping, *, groups: range | None = None, only: Only | None = None
) -> Iterator[tuple[int, Record]]:
    """Records with their row numbers from 1 on; only the mapping's fields are decoded, page checksums verified.

    groups: row groups that are read. only: records that are wanted.
    DataError if the file is cut or damaged, declares more than memory should hold, or lacks a field.
    """
    try:
        with _opened(path) as file:
            columns = _checked_columns(file.schema_arrow, path, mapping)
            number = 0
            for index in range(file.metadata.num_row_groups):
                rows = file.metadata.row_group(index).num_rows
                if groups is not None and index not in groups:
                    number += rows
                    continue
                size = _declared(file.metadata.row_group(index), columns, path, index)
                batch_rows = max(1, min(BATCH_ROWS, BATCH_BYTES * rows // max(size, 1)))
                for batch in file.iter_batches(batch_rows, row_groups=[index], columns=columns, use_threads=False):
                    for position in range(batch.num_rows):
                        number += 1
                        if only is None or _is_wanted(batch, position, only):
                            yield number, _row_of(batch, position)
    except (OSError, pa.ArrowException) as error:
        raise _unreadable(path, str(error)) from error


def read_column(path: Path, column: str) -> Iterator[Any]:
    """Values of one column of a Parquet file, in bounded memory; None for a text that is no UTF-8."""
    try:
        with _opened(path) as file:
            if column not in file.schema_arrow.names:
                raise _lacks(path, column, file.schema_arrow.names)
            _declared_all(file, [column], path)
            for batch in file.iter_batches(columns=[column], use_threads=False):
                yield from (_value(scalar) for scalar in batch.column(0))
    except (OSError, pa.ArrowException) as error:
        raise _unreadable(path, str(error)) from error


def _opened(path: Path) -> pq.ParquetFile:
    try:
        plain = pq.ParquetFile(path)
        # A long text that a dictionary repeats a million times takes its own size, not a million times that.
        texts = [field.name for field in plain.schema_arrow if _is_text(field.type)]
        plain.close()
        # A row group of the hub may be larger than memory: its pages are read as they are needed.
        return pq.ParquetFile(
            path,
            page_checksum_verification=True,
            read_dictionary=texts,
            pre_buffer=False,
            buffer_size=READ_AHEAD,
        )
    except (OSError, pa.ArrowException) as error:
        raise _unreadable(path, str(error)) from error


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _unreadable(path: Path, problem: str) -> DataError:
    return DataError(
        what=f"{path} cannot be read as Parquet: {problem}",
        why="its rows cannot be told apart from damage, so none is imported",
        fix="fetch the file again, and repeat the same command",
    )


def _checked_columns(schema: pa.Schema, path: Path, mapping: ImportMapping) -> list[str]:
    """Top-level columns that the mapping reads; DataError names the first field that the file lacks."""
    for name in sorted(mapping.required):
        if not _has(schema, name):
            raise _lacks(path, name, _names(schema))
    tops = {name if name in schema.names else name.split(".")[0] for name in mapping.fields}
    return [name for name in schema.names if name in tops]


def _has(schema: pa.Schema, name: str) -> bool:
    if name in schema.names:
        return True
    top, *inner = name.split(".")
    if top not in schema.names:
        return False
    kind = schema.field(top).type
    for part in inner:
        kind = _element(kind)
        if not pa.types.is_struct(kind) or kind.get_field_index(part) < 0:
            return False
        kind = kind.field(part).type
    return True


def _element(kind: pa.DataType) -> Any:
    """The type of what lists of lists hold in the end."""
    while pa.types.is_list(kind) or pa.types.is_large_list(kind):
        kind = kind.value_type
    return kind


def _lacks(path: Path, name: str, names: list[str]) -> DataError:
    return DataError(
        what=f"{path} has no column {name!r}; its columns are {', '.join(names)}",
        why="the mapping names it, and every row would be left out",
        fix=f"correct {name!r} in the mapping, or fetch the revision of the dataset that has it",
    )


def _names(schema: pa.Schema) -> list[str]:
    """Columns, and the fields of those that have some."""
    names = []
    for field in schema:
        kind = _element(field.type)
        inner = [kind.field(k).name for k in range(kind.num_fields)] if pa.types.is_struct(kind) else []
        names += [f"{field.name}.{name}" for name in inner] or [field.name]
    return names


def _declared(group: pq.RowGroupMetaData, columns: list[str], path: Path, index: int) -> int:
    """Bytes that the wanted columns of a row group declare to hold when decoded; DataError where that is a bomb."""
    chunks = [group.column(k) for k in range(group.num_columns)]
    wanted = [chunk for chunk in chunks if chunk.path_in_schema.split(".")[0] in columns]
    decoded = sum(int(chunk.total_uncompressed_size) for chunk in wanted)
    stored = sum(int(chunk.total_compressed_size) for chunk in wanted)
    expands = decoded > SMALL_GROUP and decoded > MAX_EXPANSION * stored
    if decoded > MAX_GROUP_BYTES or expands:
        raise _unreadable(
            path,
            f"row group {index} declares {decoded:,} bytes in {stored:,} stored, which no dataset of its kind does",
        )
    return decoded


def _declared_all(file: pq.ParquetFile, columns: list[str], path: Path) -> None:
    for index in range(file.metadata.num_row_groups):
        _declared(file.metadata.row_group(index), columns, path, index)


def _is_wanted(batch: pa.RecordBatch, position: int, only: Only) -> bool:
    """Whether a record is wanted, told by one column before the others become Python values."""
    if only.field not in batch.schema.names:
        return True  # a field inside a column: the caller asks again
    return only.test(_value(batch.column(only.field)[position]))


def _value(scalar: pa.Scalar) -> Any:
    try:
        return scalar.as_py()
    except UnicodeDecodeError:
        return None


def _row_of(batch: pa.RecordBatch, position: int) -> Record:
    record = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        try:
            record[name] = column[position].as_py()
        except UnicodeDecodeError as error:
            return UnusableRecord(INVALID_UTF8, f"{name!r}: {error}")
    return record
