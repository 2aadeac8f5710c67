"""The draw order: which entry every draw comes from, and which row it is. Closed form, no state, any window at once.

Source: molmo2 spec section 4.5.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trackyard.errors import ConfigError
from trackyard.plan.permutation import permutation_key, permute

TICKS = 1e6
"""Draw times are rounded to 1e-6, so that equal times are equal on every machine."""
MOST = 1 << 16
"""Entries and datasets, at most."""

Int64s = NDArray[np.int64]


def draw_order(rates: Sequence[float], start: int, stop: int) -> tuple[Int64s, Int64s]:
    """Draws `start`..`stop`-1: the entry of each [stop-start] and the entry's own draw number c [stop-start].

    rates: p_i > 0, adding up to 1. The k-th draw of entry i has time (k + 1/2) / p_i; the order sorts by time, ties to
    the earlier entry. For every prefix N the count of entry i is within 1 + p_i * entries / 2 of N * p_i.
    Raises ConfigError for rates that are not positive or do not add up to 1.
    """
    first, entry, number = _window(rates, start, stop)
    here = slice(start - first.sum(), stop - first.sum())
    return entry[here], number[here]


def counts_before(rates: Sequence[float], position: int) -> Int64s:
    """How often each entry comes among draws 0..`position`-1, [entries]."""
    first, entry, _ = _window(rates, position, position)
    return first + np.bincount(entry[: position - first.sum()], minlength=len(first))


def _window(rates: Sequence[float], start: int, stop: int) -> tuple[Int64s, Int64s, Int64s]:
    """Draws in order that contain `start`..`stop`-1: entry and own number; before, the draws [entries] left out."""
    p = np.asarray(rates, dtype=np.float64)
    if p.size == 0 or not (p > 0).all() or abs(p.sum() - 1) > 1e-6 or not 0 <= start <= stop:
        raise ConfigError(
            what=f"draws {start} to {stop} of {p.size} rates from {p.min(initial=1):g}, sum {p.sum():.9f}",
            why="the order is defined for positive rates that add up to 1",
            fix="take the rates of a mixture, without its missing entries",
        )
    # An entry has p*T + 1/2 draws up to time T, rounded down: all of them together T, give or take half per entry.
    # So no draw before `early` is later than position `start`, and none after `late` is earlier than `stop`.
    early, late = start - p.size / 2 - 1, stop + p.size / 2 + 1
    first = np.maximum(np.floor(p * early + 0.5).astype(np.int64) - 1, 0)
    counts = np.ceil(p * late + 0.5).astype(np.int64) + 1 - first
    entry = np.repeat(np.arange(p.size), counts)
    number = np.arange(entry.size) + np.repeat(first - (np.cumsum(counts) - counts), counts)
    time = np.rint((number + 0.5) / np.repeat(p, counts) * TICKS).astype(np.int64)
    order = np.argsort(time, kind="stable")
    return first, entry[order], number[order]


@dataclass(frozen=True, kw_only=True)
class Draws:
    """The endless draw order of a mixture down to rows, without state: any block of it can be asked for.

    rates [entries]: adding up to 1; dataset_of [entries]: number of the dataset that the entry draws from;
    names, sizes [datasets]: usable rows of each. Two entries of one dataset share its epochs, so that none repeats a
    row of the other. Draw number c of a dataset with n rows is row perm(seed, dataset, epoch = c // n)[c % n]: no row
    comes twice within an epoch.
    """

    seed: int
    rates: Sequence[float]
    dataset_of: Int64s
    names: Sequence[str]
    sizes: Int64s

    def __post_init__(self) -> None:
        if len(self.rates) > MOST or len(self.names) > MOST:
            raise ConfigError(
                what=f"{len(self.rates)} entries of {len(self.names)} datasets in one mixture",
                why=f"the planner numbers them in 16 bits, which reaches to {MOST}",
                fix="join datasets before they are named in the mixture",
            )

    def block(self, start: int, stop: int) -> tuple[Int64s, Int64s, Int64s, Int64s]:
        """Entry, dataset, position (0..size-1) and epoch of draws `start`..`stop`-1, each [stop-start]."""
        entry, _ = draw_order(self.rates, start, stop)
        dataset = self.dataset_of[entry]
        before = np.bincount(self.dataset_of, counts_before(self.rates, start), len(self.sizes)).astype(np.int64)
        counts = np.bincount(dataset, minlength=len(self.sizes))
        # In dataset order, the draws of one dataset are numbered one after the other.
        order = np.argsort(dataset.astype(np.uint16), kind="stable")
        epoch, place = np.empty_like(entry), np.empty_like(entry)
        sizes = np.repeat(self.sizes, counts)
        own = np.arange(len(entry)) + np.repeat(before - (np.cumsum(counts) - counts), counts)
        epochs, places = np.divmod(own, sizes)
        epoch[order] = epochs
        place[order] = permute(places, sizes, self._keys(before, counts, epochs))
        return entry, dataset, place, epoch

    def _keys(self, before: Int64s, counts: Int64s, epochs: Int64s) -> NDArray[np.uint64]:
        """Permutation key of every draw, for draws by dataset: `counts` after the first `before`, epoch of each."""
        first = before // self.sizes
        last = np.maximum(before + counts - 1, before) // self.sizes
        table = np.array(
            [
                permutation_key(self.seed, name, epoch)
                for name, low, high in zip(self.names, first.tolist(), last.tolist(), strict=True)
                for epoch in range(low, high + 1)
            ],
            dtype=np.uint64,
        )
        spans = last - first + 1
        at = np.cumsum(spans) - spans - first
        keys: NDArray[np.uint64] = table[epochs + np.repeat(at, counts)]
        return keys
