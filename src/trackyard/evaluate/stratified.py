"""The interval of a mean over tasks, each of which counts alike however many items it has.

Source: theworld spec section 12.5.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from trackyard.errors import DataError
from trackyard.evaluate.statistics import AT_ONCE, LEVEL, RESAMPLES, Interval


def bootstrap_macro(
    values: Mapping[str, ArrayLike], *, rng: np.random.Generator, resamples: int = RESAMPLES
) -> Interval:
    """Percentile bootstrap of the unweighted mean over tasks of the mean over each task's items.

    values: [items] by task; items are drawn within their task, so that every resample has all tasks in their sizes.
    DataError without a task, for a task without items, or a value that is not finite.
    """
    tasks = {name: np.asarray(each, dtype=np.float64) for name, each in values.items()}
    wrong = [name for name, each in tasks.items() if not each.size or not np.isfinite(each).all()]
    if wrong or not tasks:
        raise DataError(
            what=f"an interval over {len(tasks)} tasks; without items, or with a value that is no number: "
            f"{', '.join(wrong) or '-'}",
            why="a mean over it would be no number",
            fix="evaluate the set again; every task of it has items",
        )
    found = np.zeros(resamples)
    for name in sorted(tasks):
        each = tasks[name]
        at_once = max(1, AT_ONCE // each.size)
        for start in range(0, resamples, at_once):
            piece = found[start : start + at_once]
            drawn = rng.integers(each.size, size=(piece.size, each.size), dtype=np.int32)
            piece += each[drawn].mean(axis=1)
    low, high = np.quantile(found / len(tasks), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(low), float(high))
