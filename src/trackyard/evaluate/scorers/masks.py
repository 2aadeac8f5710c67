"""Masks against masks: region similarity J, boundary measure F, and J&F, their mean.

J is the overlap over the union; F compares outlines, which may lie apart by 0.8 % of the picture's diagonal. Masks are
bool [height, width]; those of one object through time, or the union of all objects of a query, are [frames, height,
width]. Source: molmo2 spec section 14; Perazzi et al., DAVIS, CVPR 2016.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from trackyard.errors import DataError

Masks = NDArray[np.bool_]

TOLERANCE = 0.008
"""How far apart outlines may lie, as a share of the diagonal; at least rounded up to a pixel."""


@dataclass(frozen=True, slots=True)
class MaskScore:
    """region: mean J; boundary: mean F; jf: their mean."""

    region: float
    boundary: float
    jf: float


def region_similarity(predicted: Masks, true: Masks) -> float:
    """J of two masks: overlap over union; 1 where both are empty."""
    _require_alike(predicted, true)
    union = np.count_nonzero(predicted | true)
    return np.count_nonzero(predicted & true) / union if union else 1.0


def boundary_f(predicted: Masks, true: Masks) -> float:
    """F of two masks: harmonic mean of the shares of each outline that lie near the other; 1 without any outline."""
    _require_alike(predicted, true)
    reach = math.ceil(TOLERANCE * math.hypot(*true.shape))
    guess, goal = outline(predicted), outline(true)
    drawn = guess | goal
    if not drawn.any():
        return 1.0
    if not guess.any() or not goal.any():
        return 0.0
    rows, columns = np.flatnonzero(drawn.any(axis=1)), np.flatnonzero(drawn.any(axis=0))
    window = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]  # outside it there is no outline
    guess, goal = guess[window], goal[window]
    precision = _share_near(guess, goal, reach)
    recall = _share_near(goal, guess, reach)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def jf(predicted: Masks, true: Masks) -> MaskScore:
    """Mean J and F over frames [frames, height, width]. DataError without a frame."""
    _require_alike(predicted, true)
    if not len(true):
        raise DataError(
            what="J&F over 0 frames",
            why="nothing was compared, so nothing is known",
            fix="leave out the query, or import its masks",
        )
    pairs = list(zip(predicted, true, strict=True))
    region = math.fsum(region_similarity(*pair) for pair in pairs) / len(pairs)
    boundary = math.fsum(boundary_f(*pair) for pair in pairs) / len(pairs)
    return MaskScore(region, boundary, (region + boundary) / 2)


def outline(mask: Masks) -> Masks:
    """Pixels whose right, lower or lower right neighbour is on the other side. The last row and column look only along
    themselves."""
    padded = np.pad(mask, ((0, 1), (0, 1)), mode="edge")
    right, below, across = padded[:-1, 1:], padded[1:, :-1], padded[1:, 1:]
    return (mask ^ right) | (mask ^ below) | (mask ^ across)


def _share_near(of: Masks, to: Masks, reach: int) -> float:
    """Share of the pixels `of` that have one of `to` within a disc of radius `reach`."""
    return np.count_nonzero(distance_transform_edt(~to)[of] <= reach) / np.count_nonzero(of)


def _require_alike(predicted: Masks, true: Masks) -> None:
    if predicted.shape != true.shape or predicted.dtype != bool or true.dtype != bool:
        raise DataError(
            what=f"masks of {predicted.dtype} {predicted.shape} against {true.dtype} {true.shape}",
            why="pixels are compared one by one",
            fix="resize the predicted masks to the picture and make both `array > 0`",
        )
