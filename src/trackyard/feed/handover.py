"""A decoded micro-batch handed to another process without a copy: one block of memory, sent as a file descriptor.

The block is anonymous memory (memfd), not a file in /dev/shm, which containers limit to 64 MB by default. There is one
block per micro-batch, not one per array: for a step of 128 micro-batches a process has not that many descriptors.
Source: reliability spec F25.
"""

from __future__ import annotations

import mmap
import os
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, fields
from multiprocessing.reduction import DupFd
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trackyard.feed.batch import Batch, Visual
from trackyard.feed.steps import Facts, MicroBatch

ALIGNMENT = 64
"""Bytes: arrays start at cache lines."""

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class _Place:
    """Where an array lies in a block. start: in bytes."""

    dtype: str
    shape: tuple[int, ...]
    start: int

    def view(self, block: mmap.mmap) -> Array:
        return np.ndarray(self.shape, self.dtype, buffer=block, offset=self.start)


class Parcel:
    """A micro-batch in a block of shared memory. Pickled for another process, it arrives there as a MicroBatch."""

    def __init__(self, unit: MicroBatch) -> None:
        self._facts = unit.facts
        arrays = _arrays(unit.batch)
        self._places: dict[str, _Place] = {}
        size = 0
        for name, array in arrays.items():
            self._places[name] = _Place(array.dtype.str, array.shape, size)
            size += -(-array.nbytes // ALIGNMENT) * ALIGNMENT
        self._size = size
        self._descriptor = os.memfd_create("trackyard-feed", os.MFD_CLOEXEC)
        weakref.finalize(self, os.close, self._descriptor)
        os.ftruncate(self._descriptor, size)
        block = mmap.mmap(self._descriptor, size)
        for name, array in arrays.items():
            np.copyto(self._places[name].view(block), array)

    def __reduce__(self) -> tuple[object, ...]:
        return _unpack, (DupFd(self._descriptor), self._size, self._places, self._facts)


def _unpack(sent: Any, size: int, places: Mapping[str, _Place], facts: Facts) -> MicroBatch:
    """Map the block. It stays as long as an array of the micro-batch does."""
    descriptor = sent.detach()
    try:
        block = mmap.mmap(descriptor, size)
    finally:
        os.close(descriptor)
    return MicroBatch(batch=_batch({name: place.view(block) for name, place in places.items()}), facts=facts)


def _arrays(batch: Batch) -> dict[str, Array]:
    own = {field.name: getattr(batch, field.name) for field in fields(Batch) if field.name != "visual"}
    return own | {f"visual.{field.name}": getattr(batch.visual, field.name) for field in fields(Visual)}


def _batch(arrays: Mapping[str, Array]) -> Batch:
    visual = Visual(**{field.name: arrays[f"visual.{field.name}"] for field in fields(Visual)})
    return Batch(**{name: array for name, array in arrays.items() if "." not in name}, visual=visual)
