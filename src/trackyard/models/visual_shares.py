"""Which pictures each rank of a context-parallel group encodes. NumPy only.

An image is encoded whole, since its pooling windows reach over the borders of its crops; the frames of a video are
apart. Source: molmo2 spec section 12.

Shapes: M pooling windows of W patches; I visual inputs (crops or frames) of P patches.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from trackyard.errors import DataError
from trackyard.plan.context import split_inputs

Ints = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, slots=True)
class VisualShare:
    """Consecutive visual inputs of one rank and the pooling windows into them; both may be empty."""

    inputs: slice
    windows: slice


def visual_shares(grids: Ints, pooling_MW: Ints, inputs: int, patches: int, degree: int) -> list[VisualShare]:
    """The share of each of C = `degree` ranks, together everything once and in order.

    grids: [n_media, 4] as the stock `image_grids`; a video's last two are 0. inputs: I. patches: P.
    DataError unless grids, windows and inputs belong together.
    """
    units = [unit for medium in _media(grids, pooling_MW, inputs, patches) for unit in _units(*medium)]
    windows = [0, *accumulate(count for count, _ in units)]
    crops = [0, *accumulate(count for _, count in units)]
    shares, done = [], 0
    for numbers in split_inputs([count for _, count in units], degree):
        stop = done + len(numbers)
        shares.append(VisualShare(inputs=slice(crops[done], crops[stop]), windows=slice(windows[done], windows[stop])))
        done = stop
    return shares


def _units(grid: Ints, windows: int, inputs: int) -> list[tuple[int, int]]:
    """(windows, inputs) of the parts of a medium that can be encoded apart."""
    if grid[2:].any() or windows % inputs:
        return [(windows, inputs)]
    return [(windows // inputs, 1)] * inputs


def _media(grids: Ints, pooling_MW: Ints, inputs: int, patches: int) -> list[tuple[Ints, int, int]]:
    """(grid, windows, inputs) of each medium."""
    if not len(grids):
        return []
    windows = grids[:, 0] * grids[:, 1] + grids[:, 2] * grids[:, 3]
    first = np.cumsum(windows) - windows
    starts = np.full(1, -1)
    if windows.min() > 0 and windows.sum() == len(pooling_MW):
        # A medium's windows reach from the first patch of its first input on, and never into another medium.
        lowest = np.where(pooling_MW >= 0, pooling_MW, inputs * patches).min(axis=1) // patches
        starts = np.minimum.reduceat(lowest, first)
    counts = np.diff(starts, append=inputs)
    if starts[0] != 0 or counts.min() < 1:
        raise DataError(
            what=f"{len(grids)} media of {windows.tolist()} pooled features for {len(pooling_MW)} windows of {inputs} "
            "visual inputs",
            why="ranks would encode other pictures than those that their neighbours leave out",
            fix="build the index and the plan again: `dvc repro --force`",
        )
    return list(zip(grids, windows.tolist(), counts.tolist(), strict=True))
