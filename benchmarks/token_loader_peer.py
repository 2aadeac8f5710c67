"""Peers of the benchmark of token loaders, in an environment without trackyard.

    python benchmarks/token_loader_peer.py --make DIRECTORY          # the tokens, and the same in every peer's form
    python benchmarks/token_loader_peer.py --child "HF arrow" DIRECTORY

Each gives batches of 8 windows of 2,048 tokens as int64, shuffled. Source: performance spec sections 8.5, 10.2 (B5).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measured import report
from benchmarks.shard_read_peer import without_torchvision

TOKENS = 50_000_000
LENGTH, BATCH = 2_048, 8
VOCABULARY = 50_304
STREAM = "stream.bin"


def light(batches: Iterable[Any]) -> tuple[float, Any]:
    """Go over batches: tokens seen, and the sum of the first of every window, which no order changes."""
    seen = first = 0
    for batch in batches:
        seen += len(batch) * LENGTH
        first += int(batch[:, 0].sum())
    return seen, [seen, first]


def digest(batches: Iterable[Any]) -> int:
    """A digest of all windows, of any order: the sum of their weighted sums."""
    weights = np.arange(1, LENGTH + 1, dtype=np.int64)
    return int(sum(int((np.asarray(batch)[:, :LENGTH] @ weights % 1_000_003).sum()) for batch in batches))


def windows(directory: Path) -> Any:
    """uint16 [windows, 2048], as many as fill whole batches."""
    stream = np.memmap(directory / STREAM, dtype="<u2", mode="r")
    count = stream.size // LENGTH // BATCH * BATCH
    return stream[: count * LENGTH].reshape(count, LENGTH)


def make_arrow(directory: Path) -> None:
    import datasets
    import pyarrow

    values = np.asarray(windows(directory), dtype=np.int32)
    offsets = np.arange(len(values) + 1, dtype=np.int32) * LENGTH
    column = pyarrow.ListArray.from_arrays(offsets, values.ravel())
    datasets.Dataset(pyarrow.table({"input_ids": column})).save_to_disk(str(directory / "arrow"))


def read_arrow(directory: Path) -> Iterator[Any]:
    import datasets

    dataset = datasets.load_from_disk(str(directory / "arrow")).with_format("torch")
    order = np.random.default_rng(1).permutation(len(dataset)).reshape(-1, BATCH)
    return (dataset[numbers.tolist()]["input_ids"] for numbers in order)


def read_nanogpt(directory: Path) -> Iterator[Any]:
    import torch

    found = windows(directory)
    order = np.random.default_rng(1).permutation(len(found)).reshape(-1, BATCH)
    return (
        torch.stack([torch.from_numpy(found[number].astype(np.int64)) for number in numbers.tolist()])
        for numbers in order
    )


def make_mds(directory: Path) -> None:
    without_torchvision()
    from streaming import MDSWriter

    columns = {"input_ids": f"ndarray:uint16:{LENGTH}"}
    with MDSWriter(out=str(directory / "mds"), columns=columns, size_limit=1 << 26) as writer:
        for window in windows(directory):
            writer.write({"input_ids": np.array(window)})


def read_mds(directory: Path) -> Iterator[Any]:
    without_torchvision()
    import torch
    from streaming import StreamingDataset

    dataset = StreamingDataset(local=str(directory / "mds"), shuffle=True, batch_size=BATCH)

    def collate(samples: list[dict[str, Any]]) -> Any:
        return torch.from_numpy(np.stack([sample["input_ids"] for sample in samples]).astype(np.int64))

    return iter(torch.utils.data.DataLoader(dataset, batch_size=BATCH, collate_fn=collate))


READERS: dict[str, Callable[[Path], Iterator[Any]]] = {
    "HF arrow": read_arrow,
    "nanoGPT style": read_nanogpt,
    "MDS": read_mds,
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("directory", type=Path)
    parser.add_argument("--make", action="store_true")
    parser.add_argument("--child", choices=READERS)
    parser.add_argument("--digest", action="store_true")
    given = parser.parse_args()
    if given.make:
        make_arrow(given.directory)
        make_mds(given.directory)
        return
    read = READERS[given.child]
    if given.digest:
        report(lambda: (1, digest(read(given.directory))))
    else:
        batches = read(given.directory)
        report(lambda: light(batches))


if __name__ == "__main__":
    main()
