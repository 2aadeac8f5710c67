"""What test_processes.py has feed workers do. `python -m tests.feed.in_worker`: one of them where /dev/shm is small.

A worker imports this module: nothing of weight is in it.
"""

from __future__ import annotations

import os
import sys
import tempfile
import threading
from typing import Any, cast

import numpy as np

from trackyard.feed.batch import Batch, Visual
from trackyard.feed.handover import Parcel
from trackyard.feed.processes import WorkerPool
from trackyard.feed.steps import Facts, MicroBatch

LOCK = threading.Lock()
PATCHES = (32, 1024, 1024)
BYTES = 32 << 20
"""Of a large micro-batch. /dev/shm has half of it."""


def lock_is_free() -> bool:
    """Whether LOCK can be had in this process."""
    return LOCK.acquire(timeout=0.2)


def _large() -> MicroBatch:
    none = np.zeros((1, 1), dtype=np.int64)
    names = ("input_ids", "positions", "segments", "examples", "targets", "weights", "visual_flags")
    patches = np.arange(BYTES, dtype=np.uint8).reshape(PATCHES)
    visual = Visual(patches=patches, pooling=none, grids=none)
    batch = Batch(**dict.fromkeys(names, none), visual=visual)
    return MicroBatch(batch=batch, facts=Facts(rows=(), weights=(), groups=none[0], broken=()))


def large() -> Any:
    """A micro-batch as the feed sends it."""
    return Parcel(_large())


def _shm_is_too_small() -> bool:
    """Negative control: whatever puts as much into /dev/shm fails."""
    with tempfile.TemporaryFile(dir="/dev/shm") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, BYTES)
        except OSError:
            return True
    return False


def main() -> None:
    if not _shm_is_too_small():
        sys.exit("/dev/shm is large here, so the rest would show nothing")
    pool = WorkerPool(cast(Any, None), 1, 60.0)
    try:
        found = pool._pool.submit(large).result(60)
    finally:
        pool.close()
    if not np.array_equal(found.batch.visual.patches, _large().batch.visual.patches):
        sys.exit("another micro-batch arrived")


if __name__ == "__main__":
    main()
