"""What a sweep came to on a data set: its best and fastest configurations, ties, and what to be wary of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from trackyard.errors import TrackyardError
from trackyard.recipes.nine.report.frontiers import AXES, Frontiers, climbs, steps
from trackyard.recipes.nine.report.gathering import Gathered
from trackyard.recipes.nine.report.measured import Measurement, TaskFacts
from trackyard.recipes.nine.report.pairs import Pairs
from trackyard.recipes.nine.results import PIPELINE

MOST_UNPARSED = 0.05
"""Share of answers that no rule can read from which on a score says more about the form of answers."""


class CutAnswers(TrackyardError):
    """More answers end at their cap than may."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """Of one data set, by total latency.

    best: the fastest of those with the highest value. fastest: the best of those with the lowest P50. as_good: keys
    that nothing shows to differ from the best. tied_steps: steps of the frontier that are none.
    """

    task: TaskFacts
    best: Measurement
    fastest: Measurement
    as_good: tuple[str, ...]
    fastest_as_good: Measurement
    on_frontier: int
    steps: int
    tied_steps: int
    configurations: int


def findings(gathered: Gathered, found: Frontiers, pairs: Pairs) -> list[Finding]:
    """In the order of the data sets."""
    listed = []
    for name, by_axis in found.items():
        results, points = gathered.results[name], by_axis[AXES[0]].points
        on = steps(by_axis[AXES[0]])
        best, fastest = results[on[-1].key], results[on[0].key]
        as_good = tuple(pairs.tied_with(name, best.key))
        quickest = next(point.key for point in points if point.key in {best.key, *as_good})
        ties = [pairs.tied(name, left.key, right.key) for left, right in climbs(by_axis[AXES[0]])]
        listed.append(
            Finding(
                task=gathered.tasks[name],
                best=best,
                fastest=fastest,
                as_good=as_good,
                fastest_as_good=results[quickest],
                on_frontier=len(on),
                steps=len(ties),
                tied_steps=sum(ties),
                configurations=len(points),
            )
        )
    return listed


def warnings(gathered: Gathered) -> list[str]:
    """What a reader should know before believing a number, the gravest first."""
    return list(_warnings(gathered))


def _warnings(gathered: Gathered) -> Iterator[str]:
    sweep, tasks = gathered.sweep, gathered.tasks
    for name, text in gathered.watermarks.items():
        if text:
            yield f"{tasks[name].heading}: {text}"
    for name, here in gathered.results.items():
        heading = tasks[name].heading
        capped = _most_capped(here)
        if capped and capped.cap_rate > sweep.most_capped:
            yield f"{heading}: {_capped(capped, sweep.most_capped)}"
        unparsed = _worst([(result.unparsed_rate, result) for result in here.values()])
        if unparsed and unparsed[0] > MOST_UNPARSED:
            share = f"{unparsed[0]:.1%} of the answers of {unparsed[1].words}"
            yield f"{heading}: no rule reads {share}; they count as wrong"
        failed = sum(result.tally.failed for result in here.values())
        if failed:
            yield f"{heading}: {failed:,} questions failed, over all configurations, and score 0"
        invalid = sum(result.times.invalid for result in here.values())
        if invalid:
            yield f"{heading}: {invalid:,} timings do not sum to their total, and do not count"
    if sweep.different:
        yield f"{sweep.different:,} answers differ between a batch and alone ({sweep.precision})"
    if sweep.on_cpu:
        yield "latency was measured on a CPU: it says nothing of a GPU, and is never put beside one's"
    if sweep.busy:
        yield f"other work ran beside the timing: {'; '.join(sweep.busy)}"


def require_uncapped(gathered: Gathered) -> None:
    """CutAnswers where more answers than may end at the cap of their task. It comes after the report that shows it."""
    for name, here in gathered.results.items():
        capped = _most_capped(here)
        if capped and capped.cap_rate > gathered.sweep.most_capped:
            raise CutAnswers(
                what=f"{name}: {_capped(capped, gathered.sweep.most_capped)}",
                why="answers that are cut are scored as if the model had said no more: it is another score",
                fix=f"raise new_tokens of {name} in tasks/, or nine.accuracy.most_capped where the model never ends; "
                f"then dvc repro {PIPELINE}",
            )


def _most_capped(here: Mapping[str, Measurement]) -> Measurement | None:
    return max(here.values(), key=lambda result: result.cap_rate, default=None)


def _capped(result: Measurement, most: float) -> str:
    return f"{result.cap_rate:.1%} of the answers of {result.words} end at the cap without an end token, {most:.1%} may"


def _worst(found: list[tuple[float, Measurement]]) -> tuple[float, Measurement] | None:
    return max(found, key=lambda pair: pair[0], default=None)
