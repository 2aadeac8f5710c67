"""Intervals and tests of paired comparisons between two arms of a study. Source: pile-ffn spec section 8.4.

Everything is paired by document: D_j = value_j(arm) - value_j(reference). A generator of random numbers is the
caller's, keyed by what is compared, so that an interval does not depend on what was computed before it.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trackyard.errors import DataError

RESAMPLES = 10_000
LEVEL, POWER = 0.95, 0.8
AT_ONCE = 1 << 20
"""Documents drawn at a time: resamples of a large set are computed in pieces."""

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Interval:
    """Ends of a 95 % interval."""

    low: float
    high: float


@dataclass(frozen=True, kw_only=True, slots=True)
class PairedDifference:
    """Mean of D_j over `documents`, its interval, and the power of the comparison.

    detectable: size of a true mean difference that documents this many and this different would show (two-sided 5 %)
    four times in five. A difference that is not shown may still be as large as that.
    """

    documents: int
    mean: float
    ci95: Interval
    detectable: float


def bootstrap_ratio(
    numerators: ArrayLike, denominators: ArrayLike, *, rng: np.random.Generator, resamples: int = RESAMPLES
) -> Interval:
    """Percentile bootstrap over documents of sum(numerators) / sum(denominators), both [documents].

    DataError with fewer than two documents, a number that is not finite, or a denominator that is not above 0.
    """
    parts = np.stack([_numbers(numerators), _numbers(denominators)])
    documents = parts.shape[1]
    if not (parts[1] > 0).all():
        raise DataError(
            what=f"a ratio over a document that weighs {parts[1].min():g}",
            why="a resample of such documents alone has no ratio",
            fix="leave documents with nothing to measure out of the interval",
        )
    if documents < 2:
        raise _too_few(documents)
    found = np.empty(resamples)
    at_once = max(1, AT_ONCE // documents)
    for start in range(0, resamples, at_once):
        piece = found[start : start + at_once]
        drawn = rng.integers(documents, size=(piece.size, documents), dtype=np.int32)
        above, below = (part[drawn].sum(axis=1) for part in parts)
        piece[:] = above / below
    low, high = np.quantile(found, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(low), float(high))


def bootstrap_mean(values: ArrayLike, *, rng: np.random.Generator, resamples: int = RESAMPLES) -> Interval:
    """Percentile bootstrap over documents of the mean of `values` [documents]. DataError as `bootstrap_ratio`."""
    numbers = _numbers(values)
    return bootstrap_ratio(numbers, np.ones_like(numbers), rng=rng, resamples=resamples)


def paired_difference(
    values: Mapping[str, float],
    reference: Mapping[str, float],
    *,
    rng: np.random.Generator,
    resamples: int = RESAMPLES,
) -> PairedDifference:
    """Compare two arms by what each measured on the same documents, by document id.

    DataError if one has documents that the other lacks, or as `bootstrap_ratio`.
    """
    _same_documents(values, reference)
    differences = _numbers([values[name] - reference[name] for name in sorted(values)])
    ci95 = bootstrap_mean(differences, rng=rng, resamples=resamples)
    factor = NormalDist().inv_cdf((1 + LEVEL) / 2) + NormalDist().inv_cdf(POWER)
    return PairedDifference(
        documents=differences.size,
        mean=float(differences.mean()),
        ci95=ci95,
        detectable=float(factor * differences.std(ddof=1) / np.sqrt(differences.size)),
    )


def discordant(successes: Mapping[str, bool], reference: Mapping[str, bool]) -> tuple[int, int]:
    """Documents where only the first succeeded, and where only the reference did. DataError as `paired_difference`."""
    _same_documents(successes, reference)
    first = sum(successes[name] and not reference[name] for name in successes)
    second = sum(reference[name] and not successes[name] for name in successes)
    return first, second


def mcnemar(b: int, c: int) -> float:
    """Exact two-sided p of `b` against `c` discordant pairs: min(1, 2 * sum of C(b+c, k) for k <= min(b, c) / 2^(b+c)).

    In whole numbers to the last division, so that thousands of pairs neither overflow nor vanish.
    """
    pairs = b + c
    term = tail = 1
    for k in range(min(b, c)):
        term = term * (pairs - k) // (k + 1)
        tail += term
    return min(1.0, 2 * tail / (1 << pairs))


def holm(p_values: Mapping[Key, float]) -> dict[Key, float]:
    """Adjusted p of each comparison in a family (Holm 1979), in the order given: below alpha is rejected at alpha."""
    worst = 0.0
    adjusted = {}
    for rank, key in enumerate(sorted(p_values, key=p_values.__getitem__)):
        worst = max(worst, min(1.0, (len(p_values) - rank) * p_values[key]))
        adjusted[key] = worst
    return {key: adjusted[key] for key in p_values}


def _numbers(values: ArrayLike) -> NDArray[np.float64]:
    numbers = np.asarray(values, dtype=np.float64)
    if not np.isfinite(numbers).all():
        at = int(np.flatnonzero(~np.isfinite(numbers))[0])
        raise DataError(
            what=f"number {at} of {numbers.size} is {numbers[at]}",
            why="a mean over it, and every interval, would be no number",
            fix="look at the record of that document, and score its checkpoint again",
        )
    return numbers


def _same_documents(values: Mapping[str, object], reference: Mapping[str, object]) -> None:
    lone = sorted(values.keys() ^ reference.keys())
    if lone:
        raise DataError(
            what=f"{len(lone)} documents are in one of the two arms only, {lone[0]} first",
            why="a comparison in pairs over other documents compares the documents, not the arms",
            fix="score both arms on the same document set: run the stage of the arm that is older again",
        )
    if len(values) < 2:
        raise _too_few(len(values))


def _too_few(documents: int) -> DataError:
    return DataError(
        what=f"an interval over {documents} documents",
        why="the spread between documents, which is what it states, needs at least two",
        fix="raise the number of documents of the evaluation in params.yaml",
    )
