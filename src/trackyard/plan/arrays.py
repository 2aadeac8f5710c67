"""A one-dimensional `.npy` file that is written piece by piece, so that memory does not hold it."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import DTypeLike, NDArray


class ArrayWriter:
    """Use as a context manager. The length is put into the header at the end, which keeps room for it."""

    def __init__(self, path: Path, dtype: DTypeLike) -> None:
        self.length = 0
        self._dtype = np.dtype(dtype)
        self._file = open(path, "wb")  # noqa: SIM115 - closed by __exit__
        self._write_header()

    def append(self, values: NDArray[Any]) -> None:
        """Add `values` [k]; OverflowError if one of them does not fit the type of the file."""
        limits = np.iinfo(self._dtype)
        if values.size and not limits.min <= values.min() <= values.max() <= limits.max:
            raise OverflowError(f"{values.min()} to {values.max()} as {self._dtype}")
        self._file.write(values.astype(self._dtype).tobytes())
        self.length += len(values)

    def __enter__(self) -> ArrayWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is None:
            self._file.seek(0)
            self._write_header()
        self._file.close()

    def _write_header(self) -> None:
        # NumPy pads the length to 21 digits, so every header of this file takes the same number of bytes.
        header = {"descr": npy.dtype_to_descr(self._dtype), "fortran_order": False, "shape": (self.length,)}
        npy.write_array_header_1_0(self._file, header)
