"""Made-up tracks and masks that two tracking evaluations are asked about. Standard library and numpy only.

Objects wander, vanish and cross; predictions follow one of them, change over, stray, or are missing altogether.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Masks = NDArray[np.bool_]
EMPTY = 0.1
"""Share of sets without an object, and of those without a prediction."""


def tracks(sets: int, seed: int) -> list[dict[str, Any]]:
    """Each {truth: [[time, name, x, y, half]], predicted: [[time, name, x, y]]}: a region reaches `half` around (x, y).

    No name occurs twice at a time. Fractions of the picture, rounded to 1e-4.
    """
    random = np.random.default_rng(seed)
    return [_tracks(random) for _ in range(sets)]


def _tracks(random: np.random.Generator) -> dict[str, Any]:
    objects, followers, frames = random.integers(1, 6), random.integers(1, 7), random.integers(1, 13)
    start, step = random.random((objects, 2)), random.normal(0, 0.04, (objects, frames, 2))
    place = np.clip(start[:, None] + np.cumsum(step, axis=1), 0, 1).round(4)
    half = random.uniform(0.03, 0.25, objects).round(4)  # large enough that regions overlap
    seen = random.random((objects, frames)) < 0.85
    followed = random.integers(objects, size=followers)
    none_true, none_predicted = random.random(2) < EMPTY
    truth, predicted = [], []
    for time in range(frames):
        truth += [
            [float(time), f"object {one}", *place[one, time].tolist(), float(half[one])]
            for one in range(objects)
            if seen[one, time] and not none_true
        ]
        changing = random.random(followers) < 0.15
        followed = np.where(changing, random.integers(objects, size=followers), followed)
        for one in random.permutation(followers).tolist():
            if random.random() < 0.2 or none_predicted:
                continue
            at = random.random(2) if random.random() < 0.1 else place[followed[one], time] + random.normal(0, 0.05, 2)
            predicted.append([float(time), one, *at.round(4).tolist()])
    return {"truth": truth, "predicted": predicted}


def masks(pairs: int, seed: int) -> list[tuple[Masks, Masks]]:
    """Predicted and true masks, of one size per pair: the union of some shapes, and much the same."""
    random = np.random.default_rng(seed)
    found = []
    for _ in range(pairs):
        height, width = random.integers(30, 260, size=2).tolist()
        shapes = random.random((random.integers(0, 4), 4))
        noise = random.normal(0, random.choice([0.0, 0.01, 0.1]), shapes.shape)
        found.append((_drawn(shapes + noise, height, width), _drawn(shapes, height, width)))
    return found


def _drawn(shapes: NDArray[np.float64], height: int, width: int) -> Masks:
    y, x = (np.mgrid[:height, :width] + 0.5) / np.array([height, width])[:, None, None]
    mask = np.zeros((height, width), dtype=bool)
    for number, (cx, cy, w, h) in enumerate(shapes):
        if number % 2:
            mask |= (abs(x - cx) < w / 2) & (abs(y - cy) < h / 2)
        else:
            mask |= (x - cx) ** 2 + (y - cy) ** 2 < (w / 3) ** 2
    return mask
