"""A row of the study's table: an arm over its seeds, and seed by seed. Source: pile-ffn spec sections 7 to 10."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

from trackyard.evaluate.statistics import Interval


@dataclass(frozen=True, kw_only=True, slots=True)
class OverSeeds:
    """A number of an arm. cells: by cell, which are the seeds; mean: of them."""

    mean: float
    cells: Mapping[str, float]

    @classmethod
    def of(cls, cells: Mapping[str, float]) -> OverSeeds:
        return cls(mean=fmean(cells.values()), cells=dict(cells))


@dataclass(frozen=True, kw_only=True, slots=True)
class Measure:
    """A benchmark of one cell. chance: what guessing scores, None where nobody can say."""

    metric: str
    value: float
    stderr: float | None
    chance: float | None
    items: int


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskRow:
    """A benchmark of an arm. stderr: by cell, over items."""

    metric: str
    score: OverSeeds
    stderr: Mapping[str, float | None]
    chance: float | None
    items: int


@dataclass(frozen=True, kw_only=True, slots=True)
class AttackRow:
    """An attack on an arm. delta_nats: nats per token on tokens that were left alone; ci95: of its mean, or None.

    success: by tau in nats. relative_not_primary: delta_nats over the clean loss, which favours the worse model.
    """

    documents: int
    delta_nats: OverSeeds
    ci95: Interval | None
    success: Mapping[str, OverSeeds]
    relative_not_primary: OverSeeds


@dataclass(frozen=True, kw_only=True, slots=True)
class OrderRow:
    """Order-preservation probes by layer, means over seeds; a description of the arm, no proof.

    score: share of directions along which the stronger sentence lies further, last token pooled, and by cell in
    `cells`; random: of random directions. ffn_direct: share of output coordinates of the feed-forward part, without
    its residual path, that do not fall when its input rises.
    """

    layers: tuple[int, ...]
    score: tuple[float, ...]
    cells: Mapping[str, Sequence[float]]
    random: tuple[float, ...]
    ffn_direct: tuple[float, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class ArmRow:
    """An arm. nll: nats per token on the test set, ppl its exponential by cell, bpb bits per byte.

    val_nll: on the validation set. matched: matrices that the arm constrains; None for an arm that was not trained.
    noise: of a degraded control by cell, in units of each matrix's rms; None for other arms.
    """

    arm: str
    variant: str | None
    cells: tuple[str, ...]
    val_nll: OverSeeds | None
    matched: int | None
    noise: Mapping[str, float] | None
    nll: OverSeeds
    nll_ci95: Mapping[str, Mapping[str, float] | None]
    ppl: OverSeeds
    bpb: OverSeeds
    by_component: Mapping[str, OverSeeds]
    benchmarks: Mapping[str, TaskRow]
    attacks: Mapping[str, AttackRow]
    order: OrderRow
    globally_monotonic: bool = False

    def to_json(self) -> dict[str, Any]:
        return asdict(self)
