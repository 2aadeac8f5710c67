"""What may be said of the trained run, by rule. Source: theworld spec section 1.

A claim is about one benchmark, over at least three seeds: better than the base model and than every control, beyond the
interval and after Holm's correction, with the branch audited. What is lacking is said otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from trackyard.errors import ConfigError, TrackyardError
from trackyard.recipes.datacomp.cells import BASE, CONTROLS, NO_WORLD, WORLD, Cell
from trackyard.recipes.datacomp.parameters import DatacompParameters
from trackyard.recipes.datacomp.report.gathering import AUDIT, TRAIN, Gathered
from trackyard.recipes.datacomp.report.pairs import Pair
from trackyard.recipes.datacomp.report.table import Row

SEEDS_NEEDED = 3
ALPHA = 0.05
NEEDED = ("random_projection", "zero_latents", "shuffled_latents", NO_WORLD)
"""Controls without which nothing is claimed; `soft_prompt` counts where it was trained."""
AGAINST = ("zero_latents", "shuffled_latents")
MARGIN_SET = "captions"
CLAIM = f"better than the base model and every control on >= {SEEDS_NEEDED} seeds"


class MarginMissed(TrackyardError):
    """The trained run is no better than its own controls where it must be."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """About a benchmark. missing: what it lacks for `CLAIM`, in words; empty where it may be said."""

    benchmark: str
    missing: tuple[str, ...]

    @property
    def admissible(self) -> bool:
        return not self.missing

    @property
    def words(self) -> str:
        return CLAIM if self.admissible else f"no claim: {'; '.join(self.missing)}"

    def to_json(self) -> dict[str, Any]:
        return {
            "benchmark": self.benchmark,
            "admissible": self.admissible,
            "claim": self.words,
            "missing": list(self.missing),
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Margin:
    """By how much the run of a seed beats a control on MARGIN_SET, and by how much it must."""

    seed: int
    control: str
    least: float
    found: float

    @property
    def reached(self) -> bool:
        return self.found >= self.least

    def to_json(self) -> dict[str, Any]:
        return {
            "seed": self.seed, "control": self.control, "least": self.least, "found": self.found,
            "reached": self.reached,
        }  # fmt: skip


def claims(gathered: Gathered, parameters: DatacompParameters, paired: Sequence[Pair]) -> list[Claim]:
    """Of each set, whether it is on it that the trained run is better."""
    common = tuple(_common(gathered, parameters))
    return [
        Claim(benchmark=name, missing=(*common, *_compared(parameters, [p for p in paired if p.benchmark == name])))
        for name in parameters.evaluation.sets
    ]


def margins(rows: Sequence[Row], parameters: DatacompParameters) -> list[Margin]:
    """What must be reached, where something must be. ConfigError if it was not measured."""
    least = parameters.evaluation.least_margin
    if least is None:
        return []
    lacking = [arm for arm in (WORLD, *AGAINST) if arm not in parameters.arms]
    lacking += [] if MARGIN_SET in parameters.evaluation.sets else [MARGIN_SET]
    if lacking:
        raise ConfigError(
            what=f"evaluation.least_margin={least:g}, and {', '.join(lacking)} is not evaluated",
            why=f"it is the margin of {WORLD} over {' and '.join(AGAINST)} on {MARGIN_SET}",
            fix="add it to datacomp.arms or datacomp.evaluation.sets in params.yaml, or remove least_margin",
        )
    scores = {label: score for row in rows if row.set == MARGIN_SET for label, score in row.scores.items()}
    return [
        Margin(
            seed=seed,
            control=control,
            least=least,
            found=scores[Cell(name=WORLD, seed=seed).label] - scores[Cell(name=control, seed=seed).label],
        )
        for seed in parameters.seeds
        for control in AGAINST
    ]


def require_margins(found: Sequence[Margin]) -> None:
    """MarginMissed if one was not reached."""
    missed = [margin for margin in found if not margin.reached]
    if missed:
        told = ", ".join(f"{margin.found:+.3f} over {margin.control} at seed {margin.seed}" for margin in missed)
        raise MarginMissed(
            what=f"{WORLD} on {MARGIN_SET}: {told}; at least {missed[0].least:+.3f} is asked for",
            why="without the right latents it does as well, so that nothing shows that it looks at them",
            fix="look at artifacts/datacomp/results/report.md: the training curves, then the audits of the branch; "
            "datacomp.evaluation.least_margin in params.yaml is the margin",
        )


def _common(gathered: Gathered, parameters: DatacompParameters) -> Iterator[str]:
    """What no benchmark can make up for."""
    if WORLD not in parameters.arms:
        yield f"the arm {WORLD} was not evaluated"
        return
    if len(parameters.seeds) < SEEDS_NEEDED:
        yield f"{len(parameters.seeds)} seeds where {SEEDS_NEEDED} are needed"
    absent = [arm for arm in NEEDED if arm not in parameters.arms]
    if absent:
        yield f"not evaluated: {', '.join(absent)}"
    if "gemma_language" in parameters.training.thawed_rates:
        yield "a run that trains Gemma on the same data without a world branch, which this track does not have"
    cells = [cell.label for cell in parameters.cells_of(WORLD)]
    states = {gathered.cells[AUDIT][label].body["branch"] for label in cells}
    if states != {"connected"}:
        yield f"the branch at evaluation is {', '.join(sorted(states))}"
    unaudited = [label for label in cells if not gathered.cells[TRAIN][label].body["audits"]]
    if unaudited:
        yield f"no audit of the training of {', '.join(unaudited)}"


def _compared(parameters: DatacompParameters, paired: Sequence[Pair]) -> Iterator[str]:
    worse = []
    for arm in (BASE, *CONTROLS):
        labels = {cell.label for cell in parameters.cells_of(arm)} if arm in parameters.arms else set()
        compared = [pair for pair in paired if pair.b in labels]
        better = sum(pair.ci95.low > 0 and pair.better > pair.worse and pair.holm_p < ALPHA for pair in compared)
        if better < len(compared):
            worse.append(f"{arm} ({better} of {len(compared)} seeds)")
    if worse:
        yield f"not better, beyond interval and correction, than {', '.join(worse)}"
