"""Peers of the start-up benchmark, in an environment without trackyard: HF datasets on the same Parquet files, and MDS.

    python benchmarks/startup_peer.py --make DIRECTORY
    python benchmarks/startup_peer.py --child "HF load_dataset" DIRECTORY

Source: performance spec section 10.2 (B17).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.measured import report, resident_bytes
from benchmarks.shard_read_peer import without_torchvision

DATASETS, SHARDS, ROWS_PER_SHARD, BATCH = 120, 1_280, 4, 32
Memory = dict[str, int]


def name_of(number: int) -> str:
    return f"set-{number:03}"


def shards_of(number: int) -> int:
    """Shards of a dataset: 10 or 11, 1,280 in all."""
    return SHARDS // DATASETS + (number < SHARDS % DATASETS)


def media_of(dataset: int, row: int) -> bytes:
    """2 kB that tell the row."""
    return f"{dataset}/{row};".encode().ljust(8, b".") * 256


def first_batch() -> list[tuple[int, int]]:
    """Dataset and row of each sample of a batch, spread over everything."""
    picks = []
    for number in range(BATCH):
        dataset = number * 37 % DATASETS
        picks.append((dataset, number * 101 % (shards_of(dataset) * ROWS_PER_SHARD)))
    return picks


def answer(found: list[bytes]) -> tuple[float, Any]:
    """One start, and what the batch holds."""
    return 1, [data[:16].decode() for data in found]


def hf(directory: Path) -> list[bytes]:
    from datasets import disable_progress_bars, load_dataset

    disable_progress_bars()
    opened = [
        load_dataset(
            "parquet",
            data_files={"train": sorted(map(str, (directory / "ours" / name_of(number) / "train").glob("*.parquet")))},
            cache_dir=str(directory / "hf"),
            split="train",
        )
        for number in range(DATASETS)
    ]
    return [opened[dataset][row]["media"][0]["bytes"] for dataset, row in first_batch()]


def mds(directory: Path) -> list[bytes]:
    without_torchvision()
    from streaming import Stream, StreamingDataset

    # One dataset of 120 streams: 120 datasets hold more files open than a process may.
    streams = [Stream(local=str(directory / "mds" / name_of(number))) for number in range(DATASETS)]
    opened = StreamingDataset(streams=streams, batch_size=1)
    firsts = [0]
    for number in range(DATASETS):
        firsts.append(firsts[-1] + shards_of(number) * ROWS_PER_SHARD)
    return [opened[firsts[dataset] + row]["image"] for dataset, row in first_batch()]


def make_mds(directory: Path) -> None:
    without_torchvision()
    from streaming import MDSWriter

    for dataset in range(DATASETS):
        with MDSWriter(
            out=str(directory / "mds" / name_of(dataset)), columns={"image": "bytes"}, size_limit=ROWS_PER_SHARD * 2_100
        ) as writer:
            for row in range(shards_of(dataset) * ROWS_PER_SHARD):
                writer.write({"image": media_of(dataset, row)})


READERS: dict[str, Callable[[Path], list[bytes]]] = {"HF load_dataset": hf, "MDS": mds}


def timed(read: Callable[[Path], list[bytes]], directory: Path) -> None:
    """Report a start and the memory that the process has after it."""
    memory: Memory = {}

    def work() -> tuple[float, Any]:
        found = answer(read(directory))
        memory["resident_bytes"] = resident_bytes()
        return found

    report(work, memory=memory)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("directory", type=Path)
    parser.add_argument("--make", action="store_true")
    parser.add_argument("--child", choices=READERS)
    given = parser.parse_args()
    if given.make:
        make_mds(given.directory)
    else:
        timed(READERS[given.child], given.directory)


if __name__ == "__main__":
    main()
