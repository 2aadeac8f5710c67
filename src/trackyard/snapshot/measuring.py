"""Measuring the rows of a dataset, once for a tokenizer and a preprocessing. Source: design section 3.

A dataset is measured in parts of whole shards, several at once. Parts that are done stay when the process is killed.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np

from trackyard.digest import digest_json, short
from trackyard.durable import TEMPORARY, sweep
from trackyard.errors import TrackyardError
from trackyard.exclusive import exclusive
from trackyard.progress import track
from trackyard.row import Row
from trackyard.snapshot.index import COLUMNS, USABLE, LengthIndex, Measured, index_of_values, read_index, write_index
from trackyard.snapshot.manifest import FileEntry
from trackyard.snapshot.metadata import iterate_metadata
from trackyard.snapshot.reader import SnapshotDataset
from trackyard.snapshot.workers import live_with_parent

PART_ROWS = 20_000
"""Rows of a part, at least, unless it is the last: a few seconds of measuring."""

LOCK = ".lock"

Measure = Callable[[Row], Measured]


def build_index(
    dataset: SnapshotDataset,
    split: str,
    measure: Measure,
    *,
    measure_key: str,
    cache: Path,
    workers: int | None = None,
    part_rows: int = PART_ROWS,
) -> LengthIndex:
    """Measure every row of a split, or read what was measured before.

    measure: gets rows whose media hold no bytes; it can be pickled if there is more than one part. measure_key: digest
    of everything that it depends on besides the row. The file in `cache` is named by it, the manifest's fingerprint and
    the split. A file that is damaged, or not of this key, is measured anew and replaced: it can be derived again.
    workers: processes, by default one per core; a dataset of one part is measured in this process.
    """
    key = digest_json({"manifest": dataset.manifest.fingerprint, "split": split, "measure": measure_key})
    path = cache / f"{dataset.name}-{split}-{short(key)}.parquet"
    index = read_index(path, key, dataset.rows(split))
    if index is not None:
        return index
    parts = _parts([entry for entry in dataset.manifest.files if entry.split == split], part_rows)
    label = f"measuring {dataset.name}/{split}"
    if len(parts) == 1:
        rows = track(iterate_metadata(dataset, parts[0]), label=label, total=dataset.rows(split))
        index = _measured(rows, dataset.rows(split), measure)
        write_index(path, key, index)
        return index
    # Another command may measure the same: it waits, and reads what this one measured.
    with exclusive(cache / LOCK, what=str(cache), why="two would measure the same rows", wait_s=math.inf):
        index = read_index(path, key, dataset.rows(split))
        if index is None:
            index = _in_parts(dataset, parts, measure, path, key, workers or len(os.sched_getaffinity(0)), label)
            write_index(path, key, index)
            shutil.rmtree(_work(path))
    return index


def _parts(files: Sequence[FileEntry], part_rows: int) -> list[list[FileEntry]]:
    """Consecutive shards with at least `part_rows` rows together."""
    parts: list[list[FileEntry]] = [[]]
    for entry in files:
        if sum(known.rows for known in parts[-1]) >= part_rows:
            parts.append([])
        parts[-1].append(entry)
    return parts


def _work(path: Path) -> Path:
    return path.with_name(f"{TEMPORARY}{path.stem}")


def _in_parts(
    dataset: SnapshotDataset,
    parts: Sequence[Sequence[FileEntry]],
    measure: Measure,
    path: Path,
    key: str,
    workers: int,
    label: str,
) -> LengthIndex:
    """Measure the parts that are not there yet, several at once, and join all."""
    work = _work(path)
    work.mkdir(parents=True, exist_ok=True)
    sweep(work)
    sizes = [sum(entry.rows for entry in part) for part in parts]
    files = [work / f"part-{number:05d}.parquet" for number in range(len(parts))]
    found = {number: read_index(files[number], key, size) for number, size in enumerate(sizes)}
    missing = [number for number, part in found.items() if part is None]
    # A fork of a process with threads (Arrow's, a tracker's) may hang; a fork server has none.
    context = multiprocessing.get_context("forkserver")
    with ProcessPoolExecutor(min(workers, max(len(missing), 1)), context, live_with_parent) as pool:
        running: dict[Future[LengthIndex], int] = {}
        try:
            for number in missing:
                part = (dataset.directory, dataset.restore, parts[number], measure, files[number], key)
                running[pool.submit(_part, *part)] = number
            for done in track(as_completed(running), label=f"{label}, parts", total=len(running)):
                found[running[done]] = done.result()
        except BrokenProcessPool as error:
            raise TrackyardError(
                what=f"a process that measured {dataset.name} ended without a word",
                why="it was killed, most often for want of memory; the parts that were done are kept",
                fix="run the same command again, on a machine with fewer cores or more memory",
            ) from error
        finally:
            for future in running:
                future.cancel()
    return _joined([part for _, part in sorted(found.items()) if part is not None])


def _part(
    directory: Path, restore: str, files: Sequence[FileEntry], measure: Measure, path: Path, key: str
) -> LengthIndex:
    dataset = SnapshotDataset.open(directory, restore=restore)
    index = _measured(iterate_metadata(dataset, files), sum(entry.rows for entry in files), measure)
    write_index(path, key, index)
    return index


def _measured(rows: Iterator[Row], count: int, measure: Measure) -> LengthIndex:
    reasons, notes = [USABLE], Counter[str]()
    values = np.zeros((count, len(COLUMNS) + 1), dtype=np.int32)
    for number, row in enumerate(rows):
        found = measure(row)
        if found.reason is not None and found.reason not in reasons:
            reasons.append(found.reason)
        reason = 0 if found.reason is None else reasons.index(found.reason)
        values[number] = (found.tokens, found.visual, found.inputs, found.labels, reason)
        notes.update(found.notes)
    return index_of_values(values, reasons, notes)


def _joined(parts: Sequence[LengthIndex]) -> LengthIndex:
    """One index of consecutive parts; reasons are numbered in the order in which rows give them."""
    reasons, notes = [USABLE], Counter[str]()
    blocks = []
    for part in parts:
        reasons += [reason for reason in part.reasons if reason not in reasons]
        notes.update(part.notes)
        renumber = np.array([reasons.index(reason) for reason in part.reasons], dtype=np.int32)
        blocks.append(np.stack([*(getattr(part, name) for name in COLUMNS), renumber[part.reason]], axis=1))
    return index_of_values(np.concatenate(blocks), reasons, notes)
