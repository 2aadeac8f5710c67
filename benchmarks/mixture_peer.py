"""Drawing from a mixture one row at a time: `mixture_peer.py NAME`, with a name of `PEERS`, without trackyard."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from benchmarks.measured import report

SEED = 0
DATASETS = 120
DRAWS = 1 << 16


def mixture_sizes() -> Any:
    """Rows of 120 datasets, log-uniform from 2,000 to 3 million. Source: performance spec section 10.4."""
    random = np.random.default_rng(SEED)
    return np.exp(random.uniform(np.log(2e3), np.log(3e6), DATASETS)).astype(np.int64)


def square_root_rates(sizes: Any) -> Any:
    """Share of draws of each dataset."""
    roots = np.sqrt(sizes)
    return roots / roots.sum()


def one_at_a_time() -> Callable[[], tuple[float, Any]]:
    """A random number, a search in the summed rates, and the next row of that dataset's shuffled order."""
    sizes = mixture_sizes()
    random = np.random.default_rng(SEED)
    summed = np.cumsum(square_root_rates(sizes))
    orders = [random.permutation(size).astype(np.int32) for size in sizes.tolist()]

    def work() -> tuple[float, Any]:
        taken = [0] * len(sizes)
        rows = set()
        for _ in range(DRAWS):
            which = int(summed.searchsorted(random.random()))
            order = orders[which]
            position = taken[which]
            rows.add((which, position // len(order), int(order[position % len(order)])))
            taken[which] = position + 1
        return DRAWS, {"counts": taken, "repeats": DRAWS - len(rows)}

    return work


def interleave_datasets() -> Callable[[], tuple[float, Any]]:
    """Hugging Face: an endless stream of rows for each dataset, interleaved by probability; rows in their own order."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    from datasets import IterableDataset
    from datasets import interleave_datasets as interleave

    sizes = mixture_sizes()

    def rows(number: int) -> Iterator[dict[str, int]]:
        for row in range(int(sizes[number])):
            yield {"dataset": number, "row": row}

    streams = [IterableDataset.from_generator(rows, gen_kwargs={"number": number}) for number in range(len(sizes))]
    mixed = interleave(streams, probabilities=square_root_rates(sizes).tolist(), seed=SEED)

    def work() -> tuple[float, Any]:
        counts = [0] * len(sizes)
        drawn = 0
        # It ends with the first dataset that runs out.
        for row in mixed.take(DRAWS):
            counts[row["dataset"]] += 1
            drawn += 1
        return drawn, {"counts": counts, "repeats": 0}

    return work


PEERS = {"one draw at a time (NumPy)": one_at_a_time, "interleave_datasets (Hugging Face)": interleave_datasets}


if __name__ == "__main__":
    report(PEERS[sys.argv[1]]())
