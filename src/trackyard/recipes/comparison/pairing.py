"""Every run against the first, on the samples that both were measured on. Source: nine-datasets spec section 9.

All tests of one comparison are one family: Holm's correction is over all of its runs and metrics together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from trackyard.evaluate.intervals import wilson
from trackyard.evaluate.model_comparison import FLIPS, TaskComparison, compare_models
from trackyard.evaluate.statistics import Interval, holm
from trackyard.recipes.comparison.samples import Samples, Scored
from trackyard.record.metric_names import Better, better

ALPHA = 0.05
Found = Literal["better", "worse", "higher", "lower", "not told apart"]
"""Of a run against the first. higher, lower: of a metric that is better in no direction."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """Run number `run` against the first, on one metric. test: of `evaluate.model_comparison`; its difference is that
    of `run` minus the first. holm_p: over the whole comparison."""

    run: int
    metric: str
    better: Better | None
    tested: TaskComparison
    holm_p: float

    @property
    def found(self) -> Found:
        """What the test shows at 5 % after correction."""
        return _direction(self.tested.difference.difference, self.better, self.holm_p < ALPHA)


@dataclass(frozen=True, kw_only=True, slots=True)
class SharePair:
    """As `Pair`, where only counts were kept: Wilson's intervals of both, as if each answer stood alone.

    Intervals that do not overlap are a stricter demand than a test at 5 %.
    """

    run: int
    metric: str
    better: Better | None
    answers: int
    values: tuple[float, float]
    ci95: tuple[Interval, Interval]

    @property
    def found(self) -> Found:
        first, other = self.ci95
        apart = first.high < other.low or other.high < first.low
        return _direction(self.values[1] - self.values[0], self.better, apart)


@dataclass(frozen=True, kw_only=True, slots=True)
class Pairing:
    """notes: what was not compared, and why, each in words."""

    pairs: tuple[Pair, ...]
    shares: tuple[SharePair, ...]
    notes: tuple[str, ...]


def pair_up(samples: Sequence[Samples]) -> Pairing:
    """Compare the samples of each run with those of the first. Metrics over others, or otherwise, are only noted."""
    tested: dict[tuple[int, str], TaskComparison] = {}
    shares, notes = [], []
    first = samples[0]
    for number, other in enumerate(samples[1:], start=1):
        common = []
        for metric in sorted(first.scores.keys() & other.scores.keys()):
            problem = _problem(first.scores[metric], other.scores[metric])
            if problem:
                notes.append(f"run {number + 1}, {metric}: {problem}")
            else:
                common.append(metric)
        if common:
            found = compare_models(
                {metric: other.scores[metric].scores for metric in common},
                {metric: first.scores[metric].scores for metric in common},
            )
            tested |= {(number, one.task): one for one in found}
        for metric in sorted(first.shares.keys() & other.shares.keys()):
            both = (first.shares[metric], other.shares[metric])
            if (both[0].asked, both[0].answers) != (both[1].asked, both[1].answers):
                notes.append(f"run {number + 1}, {metric}: other questions were asked")
                continue
            shares.append(
                SharePair(
                    run=number,
                    metric=metric,
                    better=better(metric),
                    answers=both[0].answers,
                    values=(both[0].right / both[0].answers, both[1].right / both[1].answers),
                    ci95=(wilson(both[0].right, both[0].answers), wilson(both[1].right, both[1].answers)),
                )
            )
    if len(tested) / (FLIPS + 1) >= ALPHA:
        notes.append(
            f"{len(tested):,} tests at once: by sign flips none can come below {ALPHA:g} after correction; "
            "name fewer runs"
        )
    corrected = holm({key: one.p for key, one in tested.items()})
    pairs = [
        Pair(run=key[0], metric=key[1], better=better(key[1]), tested=one, holm_p=corrected[key])
        for key, one in tested.items()
    ]
    return Pairing(pairs=tuple(pairs), shares=tuple(shares), notes=tuple(notes))


def _problem(one: Scored, another: Scored) -> str:
    """Why two sets of scores are not compared, "" where they are."""
    if one.asked != another.asked:
        return "measured on other data, or in another way: not compared in pairs"
    first, other = one.scores, another.scores
    if first.values.keys() != other.values.keys():
        return f"other samples were measured ({len(first.values):,} and {len(other.values):,}): not compared in pairs"
    drawn = len(set(first.clusters.values())) if first.clusters is not None else len(first.values)
    return "" if drawn > 1 else f"{drawn} sample drawn on its own has no interval"


def _direction(difference: float, wanted: Better | None, shown: bool) -> Found:
    if not shown or difference == 0:
        return "not told apart"
    if wanted is None:
        return "higher" if difference > 0 else "lower"
    return "better" if (difference > 0) == (wanted == "higher") else "worse"
