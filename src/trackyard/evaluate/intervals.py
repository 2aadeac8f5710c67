"""95 % intervals of metrics: Wilson's for shares, a bootstrap for everything else, over what was drawn together.

Source: nine-datasets spec section 9; E. B. Wilson, Probable inference, the law of succession, and statistical
inference, 1927.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trackyard.digest import digest_json
from trackyard.errors import DataError
from trackyard.evaluate.statistics import LEVEL, Interval, bootstrap_ratio

RESAMPLES = 2_000
Method = Literal["wilson", "bootstrap", "clustered bootstrap", "normal"]
"""normal: from a standard error, as lm-evaluation-harness states one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MetricValue:
    """A metric with the ends of its 95 % interval, and how they were found."""

    value: float
    lo: float
    hi: float
    method: Method


def generator(seed: int, *what: str) -> np.random.Generator:
    """Random numbers of one interval, keyed by what it is of: no interval depends on what was computed before it."""
    key = digest_json(["trackyard-interval", seed, *what])
    return np.random.Generator(np.random.Philox(key=int(key[:32], 16)))


def wilson(successes: int, samples: int) -> Interval:
    """Interval of a share. DataError for no samples, or more successes than samples."""
    if not 0 <= successes <= samples or not samples:
        raise DataError(
            what=f"{successes} right answers of {samples}",
            why="a share is of at least one sample, and at most all of them",
            fix="raise the number of samples of the task in params.yaml",
        )
    z = NormalDist().inv_cdf((1 + LEVEL) / 2)
    share, over = successes / samples, z * z / samples
    middle = share + over / 2
    half = z * sqrt(share * (1 - share) / samples + over / (4 * samples))
    # At no or only right answers an end is 0 or 1; rounding would put it a little beside.
    low = 0.0 if not successes else (middle - half) / (1 + over)
    high = 1.0 if successes == samples else (middle + half) / (1 + over)
    return Interval(low, high)


def clustered_mean(
    values: ArrayLike, clusters: Sequence[Hashable] | None, *, rng: np.random.Generator, resamples: int = RESAMPLES
) -> Interval:
    """Percentile bootstrap of the mean over samples, clusters of them drawn as one. None: each stands alone.

    values: [samples]. DataError with fewer than two clusters, a value that is not finite, or other lengths.
    """
    numbers = np.asarray(values, dtype=np.float64)
    sums, sizes = cluster_sums(numbers, clusters)
    return bootstrap_ratio(sums, sizes, rng=rng, resamples=resamples)


def cluster_sums(
    values: NDArray[np.float64], clusters: Sequence[Hashable] | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sum and size of each cluster, in the order in which clusters first occur. None: each sample stands alone."""
    if clusters is None:
        return values, np.ones_like(values)
    if len(clusters) != len(values):
        raise DataError(
            what=f"{len(values)} values of samples in {len(clusters)} clusters' labels",
            why="each sample belongs to one cluster",
            fix="list the questions again: trackyard run nine data",
        )
    numbers: dict[Hashable, int] = {}
    label = np.fromiter((numbers.setdefault(name, len(numbers)) for name in clusters), np.int64, len(values))
    sums: NDArray[np.float64] = np.bincount(label, weights=values).astype(np.float64)
    return sums, np.bincount(label).astype(np.float64)


def metric_value(
    values: ArrayLike,
    clusters: Sequence[Hashable] | None,
    *,
    binary: bool,
    rng: np.random.Generator,
    resamples: int = RESAMPLES,
) -> MetricValue:
    """The mean of a metric over samples with its interval.

    values: [samples]; of a metric over a corpus (CIDEr) what each image contributes to it, so that the weights of the
    whole corpus are held fixed. clusters: label of each sample; None, or each its own, where samples stand alone.
    binary: all values are 0 or 1. Wilson's formula needs samples that stand alone: 0/1 scores of several questions
    about one image (TallyQA) are drawn by image as well. DataError as `clustered_mean` and `wilson`.
    """
    numbers = np.asarray(values, dtype=np.float64)
    together = clusters is not None and len(set(clusters)) < len(clusters)
    if binary and not together:
        if not np.isin(numbers, (0.0, 1.0)).all():
            raise DataError(
                what=f"a score of {numbers[~np.isin(numbers, (0.0, 1.0))][0]:g} among scores that are 0 or 1",
                why="the interval of a share counts right answers",
                fix="correct the metric, or say that it is not binary (evaluate/scorers/table.py)",
            )
        ends = wilson(int(numbers.sum()), numbers.size)
    else:
        ends = clustered_mean(numbers, clusters if together else None, rng=rng, resamples=resamples)
    return MetricValue(
        value=float(numbers.mean()),
        lo=ends.low,
        hi=ends.high,
        method="clustered bootstrap" if together else "wilson" if binary else "bootstrap",
    )
