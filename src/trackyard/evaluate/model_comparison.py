"""Two models, or two configurations of one, on the same questions, in pairs. Source: nine-datasets spec section 9.

A pair is a question, and questions about one image are drawn as one. A difference whose interval holds 0 is a tie.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from trackyard.errors import DataError
from trackyard.evaluate.intervals import RESAMPLES, cluster_sums, clustered_mean, generator
from trackyard.evaluate.statistics import AT_ONCE, Interval, discordant, holm, mcnemar

FLIPS = 10_000
Test = Literal["mcnemar", "sign flips"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Scores:
    """Of one model on one task. values: by id. clusters: by id what is drawn together, None if nothing is."""

    values: Mapping[str, float]
    clusters: Mapping[str, str] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """Mean of the first minus mean of the second over `samples`, with its interval.

    Where only a handful of samples differ the bootstrap's interval is short: four won and none lost are no tie by it,
    and p = .125 by McNemar's exact test. Claims between models rest on the tests below.
    """

    samples: int
    first: float
    second: float
    difference: float
    ci95: Interval

    @property
    def tie(self) -> bool:
        """Whether the interval holds 0."""
        return self.ci95.low <= 0 <= self.ci95.high


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskComparison:
    """Two models on one task. p: of no difference, by `test`. holm_p: that, corrected over the tasks of the call."""

    task: str
    difference: Difference
    test: Test
    p: float
    holm_p: float


def difference(first: Scores, second: Scores, *, rng: np.random.Generator, resamples: int = RESAMPLES) -> Difference:
    """Paired bootstrap of the difference. DataError if one has samples that the other lacks."""
    ids, gaps = _paired(first, second)
    return Difference(
        samples=len(ids),
        first=float(np.mean([first.values[name] for name in ids])),
        second=float(np.mean([second.values[name] for name in ids])),
        difference=float(gaps.mean()),
        ci95=clustered_mean(gaps, _labels(first, ids), rng=rng, resamples=resamples),
    )


def compare_models(
    first: Mapping[str, Scores], second: Mapping[str, Scores], *, seed: int = 0, resamples: int = RESAMPLES
) -> list[TaskComparison]:
    """Two models on every task, in the order of the first; one call is one family of comparisons.

    Scores of 0 and 1 of questions that stand alone: McNemar's exact test. All others: signs of the differences are
    flipped at random, by cluster. DataError if the tasks or their samples differ, or there is no task.
    """
    lone = sorted(first.keys() ^ second.keys())
    if lone or not first:
        raise DataError(
            what=f"tasks of one of the two models only: {', '.join(lone) or 'there are none at all'}",
            why="the correction for many comparisons is over all tasks, so both models have all of them",
            fix="evaluate both models on the same tasks",
        )
    differences, tests, raw = {}, {}, {}
    for task, one in first.items():
        other = second[task]
        differences[task] = difference(one, other, rng=generator(seed, task, "difference"), resamples=resamples)
        tests[task], raw[task] = _test(one, other, generator(seed, task, "flips"))
    corrected = holm(raw)
    return [
        TaskComparison(task=task, difference=differences[task], test=tests[task], p=raw[task], holm_p=corrected[task])
        for task in first
    ]


def sign_flips(gaps: NDArray[np.float64], *, rng: np.random.Generator, flips: int = FLIPS) -> float:
    """Two-sided p that sums of pairs, each of either sign alike, come out as far from 0 as they did [clusters].

    The randomisation test of R. A. Fisher (1935) by `flips` random draws; never below 1 / (flips + 1).
    """
    apart = gaps[gaps != 0]
    # What is as far as what was seen counts as such whatever order its parts were added in.
    seen = abs(apart.sum()) * (1 - 1e-12)
    as_far = 0
    at_once = max(1, AT_ONCE // max(1, apart.size))
    for start in range(0, flips, at_once):
        drawn = rng.integers(0, 2, size=(min(at_once, flips - start), apart.size), dtype=np.int8) * np.int8(2) - 1
        as_far += int((abs(drawn @ apart) >= seen).sum())
    return (as_far + 1) / (flips + 1)


def _test(first: Scores, second: Scores, rng: np.random.Generator) -> tuple[Test, float]:
    ids, gaps = _paired(first, second)
    labels = _labels(first, ids)
    alone = labels is None or len(set(labels)) == len(labels)
    if alone and all(value in (0.0, 1.0) for scored in (first, second) for value in scored.values.values()):
        right, reference = ({name: value == 1.0 for name, value in each.values.items()} for each in (first, second))
        return "mcnemar", mcnemar(*discordant(right, reference))
    return "sign flips", sign_flips(cluster_sums(gaps, labels)[0], rng=rng)


def _paired(first: Scores, second: Scores) -> tuple[list[str], NDArray[np.float64]]:
    """Ids in order, and first minus second of each [samples]."""
    lone = sorted(first.values.keys() ^ second.values.keys())
    if lone or not first.values:
        raise DataError(
            what=f"{len(lone):,} samples are of one of the two only: {', '.join(lone[:5]) or 'there are none at all'}",
            why="a comparison over other questions compares the questions",
            fix="evaluate both on the same samples: the same limit, seed and revision of the data",
        )
    ids = sorted(first.values)
    return ids, np.array([first.values[name] - second.values[name] for name in ids])


def _labels(scored: Scores, ids: list[str]) -> list[str] | None:
    return None if scored.clusters is None else [scored.clusters[name] for name in ids]
