"""Arrow columns from values, without `pyarrow.array`: that imports pandas, a third of a second of the processor in the
middle of a fetch, while the event loop waits for the interpreter's lock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa


def record_batch(columns: Mapping[str, Sequence[Any]], schema: pa.Schema) -> pa.RecordBatch:
    """Columns by name in the order of `schema`: texts, bytes of any or one size, and 32-bit integers; None is null."""
    arrays = [column(columns[field.name], field.type) for field in schema]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def column(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """One column of `record_batch`."""
    there = np.array([value is not None for value in values], bool)
    valid = None if there.all() else pa.py_buffer(np.packbits(there, bitorder="little"))
    if pa.types.is_int32(kind):
        numbers = np.array([value or 0 for value in values], np.int32)
        return pa.Array.from_buffers(kind, len(values), [valid, pa.py_buffer(numbers)])
    if pa.types.is_fixed_size_binary(kind):
        empty = bytes(kind.byte_width)
        data = b"".join(empty if value is None else value for value in values)
        return pa.Array.from_buffers(kind, len(values), [valid, pa.py_buffer(data)])
    parts = [value.encode() if isinstance(value, str) else value or b"" for value in values]
    offsets = np.zeros(len(values) + 1, np.int32)
    np.cumsum([len(part) for part in parts], out=offsets[1:])
    return pa.Array.from_buffers(kind, len(values), [valid, pa.py_buffer(offsets), pa.py_buffer(b"".join(parts))])
