"""The trained run against the base model and every control, item by item. Source: theworld spec section 12.5."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trackyard.digest import digest_json
from trackyard.evaluate.statistics import LEVEL, POWER, Interval, discordant, holm, mcnemar
from trackyard.evaluate.stratified import bootstrap_macro
from trackyard.recipes.datacomp.cells import BASE, CONTROLS, WORLD, Cell
from trackyard.recipes.datacomp.parameters import DatacompParameters
from trackyard.recipes.datacomp.report.gathering import Gathered
from trackyard.recipes.datacomp.report.table import HEADLINE

_WHOLE = "all items"


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """Cell `a` against cell `b` on a set: difference of their headline scores with its interval over items.

    better, worse: items that only `a`, or only `b`, answers rightly. detectable: the true difference that so many items
    would show four times in five. mcnemar_p: exact, two-sided; holm_p: corrected over all pairs of the seed.
    """

    a: str
    b: str
    seed: int
    benchmark: str
    items: int
    diff: float
    ci95: Interval
    detectable: float
    better: int
    worse: int
    mcnemar_p: float
    holm_p: float

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"ci95": [self.ci95.low, self.ci95.high]}


def pairs(gathered: Gathered, parameters: DatacompParameters) -> list[Pair]:
    """By seed, set and reference. A family is all pairs of a seed: seeds are repetitions, and a claim needs each."""
    found: list[Pair] = []
    for seed in parameters.seeds if WORLD in parameters.arms else ():
        family = list(_family(gathered, parameters, seed))
        corrected = holm({number: pair.mcnemar_p for number, pair in enumerate(family)})
        found += [replace(pair, holm_p=corrected[number]) for number, pair in enumerate(family)]
    return found


def _family(gathered: Gathered, parameters: DatacompParameters, seed: int) -> Iterator[Pair]:
    ours = Cell(name=WORLD, seed=seed).label
    for name in parameters.evaluation.sets:
        for arm in (BASE, *CONTROLS):
            for cell in parameters.cells_of(arm) if arm in parameters.arms else ():
                if cell.seed in (None, seed):
                    bodies = [gathered.evaluated(name)[label].body for label in (ours, cell.label)]
                    yield _pair(ours, cell.label, seed, name, *bodies, resamples=parameters.evaluation.resamples)


def _pair(
    a: str, b: str, seed: int, name: str, first: Mapping[str, Any], second: Mapping[str, Any], *, resamples: int
) -> Pair:
    rights = [{record["id"]: bool(record["correct"]) for record in body["records"]} for body in (first, second)]
    better, worse = discordant(*rights)
    tasks = {record["id"]: record["task"] if HEADLINE[name] == "macro" else _WHOLE for record in first["records"]}
    grouped: dict[str, list[float]] = defaultdict(list)
    for item in sorted(tasks):
        grouped[tasks[item]].append(float(rights[0][item]) - float(rights[1][item]))
    differences = {task: np.asarray(values) for task, values in grouped.items()}
    rng = np.random.default_rng(int(digest_json(["pairs", name, a, b])[:32], 16))
    p = mcnemar(better, worse)
    return Pair(
        a=a,
        b=b,
        seed=seed,
        benchmark=name,
        items=len(tasks),
        diff=float(np.mean([values.mean() for values in differences.values()])),
        ci95=bootstrap_macro(differences, rng=rng, resamples=resamples),
        detectable=(NormalDist().inv_cdf((1 + LEVEL) / 2) + NormalDist().inv_cdf(POWER)) * _error(differences),
        better=better,
        worse=worse,
        mcnemar_p=p,
        holm_p=p,
    )


def _error(differences: Mapping[str, NDArray[np.float64]]) -> float:
    """Standard error of the unweighted mean over tasks."""
    parts = (values.var(ddof=1) / values.size for values in differences.values() if values.size > 1)
    return math.sqrt(sum(parts)) / len(differences)
