"""How far every trained tensor has moved from where it started, element by element.

A published attempt trained weights in pure bf16 of which none ever changed. `trackyard.train.audit` proves movement by
fingerprints after the first updates; here the masters of step 0 are kept, so that the share of changed entries is
exact. Source: pile-ffn spec sections 4 and 6.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import torch

from trackyard.errors import ConfigError
from trackyard.train.audit import NAMED, AuditError, Total
from trackyard.train.state import TrainingState

EARLY_STEP = 20
"""Update after which the first audit is due; the second is at the end."""
LEAST_MEDIAN = 0.99
"""Of the changed fractions of constrained tensors, at the end."""
SMALL = 10.0
"""A root of the second moment below this many epsilons is counted: epsilon shapes its update."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Movement:
    """One tensor. changed: share of entries whose fp32 master differs from step 0. rel_update: norm of the change over
    the norm at step 0, None from zeros. small: share of entries with sqrt(v-hat) < 10 eps, of constrained tensors."""

    tensor: str
    elements: int
    examined: int
    changed: float
    rel_update: float | None
    dtype: str
    constrained: bool
    small: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class MovementReport:
    """All trained tensors after update `step`; `small_share` is over all constrained entries, None without any."""

    step: int
    rows: tuple[Movement, ...]
    small_share: float | None

    @property
    def median_changed(self) -> float | None:
        """Of the constrained tensors; None without any."""
        return median(changed) if (changed := [row.changed for row in self.rows if row.constrained]) else None

    def require(self, *, final: bool) -> None:
        """AuditError unless every tensor has moved and, at the end, half of the constrained ones almost everywhere.

        A row of embeddings that no token used may stay: one changed entry is enough for an unconstrained tensor.
        """
        problems = [
            *_named("not examined whole", [row.tensor for row in self.rows if row.examined != row.elements]),
            *_named("not moved", [row.tensor for row in self.rows if row.changed == 0]),
            *_named("no number", [row.tensor for row in self.rows if not _finite(row.rel_update)]),
        ]
        middle = self.median_changed
        if final and middle is not None and middle < LEAST_MEDIAN:
            problems.append(f"median changed fraction of constrained tensors {middle:.4f}, at least {LEAST_MEDIAN}")
        if not self.rows:
            problems.append("no trained tensor was examined")
        if problems:
            raise AuditError(
                what=f"after step {self.step}: {'; '.join(problems)}",
                why="the arm would be judged by weights that were hardly trained, or not at all",
                fix="train with precision=fp32 (bf16 by autocast only), and look at optimiser.rates in params.yaml",
            )

    def to_json(self) -> dict[str, Any]:
        """Rows of `audit` in the train document, and what they come to. NaN is refused where it is written."""
        return {
            "step": self.step,
            "median_changed": self.median_changed,
            "small_share": self.small_share,
            "audit": [asdict(row) | {"step": self.step} for row in self.rows],
        }


class MovementAudit:
    """Made before the first update, and before a checkpoint is read; asked as often as wanted.

    Keeps the masters of this rank in host memory: 4 bytes per parameter, divided over the ranks.
    """

    def __init__(self, state: TrainingState, *, constrained: Collection[str], beta2: float, eps: float) -> None:
        """state: of the engine. constrained: trained names of the declaration. beta2, eps: of AdamW for these.

        ConfigError if a constrained tensor is not trained.
        """
        lacking = sorted(set(constrained) - state.shapes.keys())
        if lacking:
            raise ConfigError(
                what=f"{len(lacking)} of {len(constrained)} constrained tensors are not trained, {lacking[0]} first",
                why="the audit would pass over the weights that it is about",
                fix="constrain the model before the engine is made, and give its component a rate above 0",
            )
        self._state, self._constrained = state, frozenset(constrained)
        self._beta2, self._eps = beta2, eps
        self._start = [piece.tensors["master"].detach().to("cpu", copy=True) for piece in state.written]

    def examine(self, step: int, total: Total) -> MovementReport:
        """Compare every element with step 0; all ranks call this. step: updates so far, for the report."""
        names = list(self._state.shapes)
        at = {name: number for number, name in enumerate(names)}
        sums = torch.zeros(len(names), len(_COLUMNS), dtype=torch.float64)
        pieces = [self._compare(piece, start) for piece, start in zip(self._state.written, self._start, strict=True)]
        for piece, row in zip(self._state.written, torch.stack(pieces).cpu() if pieces else (), strict=True):
            sums[at[piece.name]] += row
        summed = torch.tensor(total(sums.flatten().tolist()), dtype=torch.float64).view_as(sums).tolist()
        rows = tuple(
            self._row(name, dict(zip(_COLUMNS, numbers, strict=True)))
            for name, numbers in zip(names, summed, strict=True)
        )
        small = [(row.small * row.elements, row.elements) for row in rows if row.small is not None]
        share = sum(count for count, _ in small) / sum(elements for _, elements in small) if small else None
        return MovementReport(step=step, rows=rows, small_share=share)

    @torch.no_grad()
    def _compare(self, piece: Any, start: torch.Tensor) -> torch.Tensor:
        """The columns of one piece, fp64, on its device."""
        now = piece.tensors["master"]
        before = start.to(now.device)
        small = torch.zeros((), device=now.device)
        if piece.name in self._constrained:
            # v-hat is the second moment over this; the limit is squared instead of every element's root taken.
            correction = 1 - self._beta2 ** float(self._state.steps[piece.group])
            small = (piece.tensors["exp_avg_sq"] < (SMALL * self._eps) ** 2 * correction).sum()
        numbers = (
            torch.tensor(float(piece.numel), device=now.device),
            (now != before).sum(),
            (now.double() - before.double()).square().sum(),
            before.double().square().sum(),
            small,
        )
        return torch.stack([number.double() for number in numbers])

    def _row(self, name: str, sums: dict[str, float]) -> Movement:
        elements = math.prod(self._state.shapes[name])
        constrained = name in self._constrained
        return Movement(
            tensor=name,
            elements=elements,
            examined=int(sums["examined"]),
            changed=sums["changed"] / elements,
            rel_update=math.sqrt(sums["difference"] / sums["start"]) if sums["start"] else None,
            # A training state has no other masters.
            dtype="float32",
            constrained=constrained,
            small=sums["small"] / elements if constrained else None,
        )


_COLUMNS = ("examined", "changed", "difference", "start", "small")


def _finite(number: float | None) -> bool:
    return number is None or math.isfinite(number)


def _named(problem: str, names: list[str]) -> list[str]:
    if not names:
        return []
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return [f"{problem} ({len(names)}): {', '.join(names[:NAMED])}{more}"]
