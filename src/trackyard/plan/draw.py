"""The draw order: which entry every draw comes from, and which row it is. Closed form, no state, any window at once.

Source: molmo2 spec section 4.5.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from trackyard.errors import ConfigError
from trackyard.plan.permutation import permutation_key, permute

TICKS = 1e6
"""Draw times are rounded to 1e-6, so that equal times are equal on every machine."""

Int64s = NDArray[np.int64]


def draw_order(rates: Sequence[float], start: int, stop: int) -> tuple[Int64s, Int64s]:
    """Draws `start`..`stop`-1: the entry of each [stop-start] and the entry's own draw number c [stop-start].

    rates: p_i > 0, adding up to 1. The k-th draw of entry i has time (k + 1/2) / p_i; the order sorts by time, ties to
    the earlier entry. For every prefix N the count of entry i is within 1 + p_i * entries / 2 of N * p_i.
    Raises ConfigError for rates that are not positive or do not add up to 1.
    """
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
    last = np.ceil(p * late + 0.5).astype(np.int64) + 1
    number = np.concatenate([np.arange(low, high) for low, high in zip(first, last, strict=True)])
    entry = np.repeat(np.arange(p.size), last - first)
    time = np.rint((number + 0.5) / p[entry] * TICKS).astype(np.int64)
    order = np.argsort(time, kind="stable")[start - first.sum() : stop - first.sum()]
    return entry[order], number[order]


def row_of(seed: int, dataset: str, rows: int, draws: Int64s) -> tuple[Int64s, Int64s]:
    """The position (0..rows-1) [k] and the epoch [k] of draw numbers `draws` [k] of a dataset with `rows` rows.

    Draw c is row perm(seed, dataset, epoch = c // rows)[c % rows]: no row comes twice within an epoch.
    """
    epoch, place = np.divmod(draws, rows)
    epochs, inverse = np.unique(epoch, return_inverse=True)
    keys = np.array([permutation_key(seed, dataset, int(number)) for number in epochs], dtype=np.uint64)
    return permute(place, rows, keys[inverse]), epoch
