"""What two plans have in common: inputs that differ, rates and totals side by side, and packs that are equal."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trackyard.plan.plan import Plan

CHUNK = 1 << 17
"""Packs compared together."""
ABSENT = "absent"
"""Stands for an input that only the other plan has."""

Int64s = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Pair:
    """A value in both plans. key: as a path, such as `budget.tokens` or `datasets.tulu.index`."""

    key: str
    a: Any
    b: Any


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """inputs: those that differ; rates, totals: of both plans, 0 for an entry that one does not have.

    first: step and slot of the first pack that differs, None if none does. Packs are compared where both plans have the
    step and the slot (`compared`); a pack that only one has is not equal to any.
    """

    inputs: tuple[Pair, ...]
    rates: tuple[Pair, ...]
    totals: tuple[Pair, ...]
    first: tuple[int, int] | None
    equal: int
    compared: int
    packs: tuple[int, int]

    @property
    def share_equal(self) -> float:
        """Packs that are the same rows in the same order, of all packs of the larger plan."""
        return self.equal / max(self.packs)

    @property
    def total_variation(self) -> float:
        """Half the sum of the differences between the rates."""
        return 0.5 * math.fsum(abs(pair.a - pair.b) for pair in self.rates)


def difference(a: Plan, b: Plan) -> Difference:
    """Compare two plans, whatever their sizes and datasets."""
    first, equal, compared = _compare_packs(a, b)
    return Difference(
        inputs=tuple(pair for pair in _pairs(_flat_inputs(a), _flat_inputs(b), ABSENT) if pair.a != pair.b),
        rates=tuple(_pairs(_rates(a), _rates(b), 0.0)),
        totals=tuple(_pairs(a.summary["totals"], b.summary["totals"], 0)),
        first=first,
        equal=equal,
        compared=compared,
        packs=(len(a.offsets) - 1, len(b.offsets) - 1),
    )


def _pairs(a: Mapping[str, Any], b: Mapping[str, Any], absent: Any) -> Iterator[Pair]:
    for key in dict.fromkeys([*a, *b]):
        yield Pair(key, a.get(key, absent), b.get(key, absent))


def _rates(plan: Plan) -> dict[str, float]:
    return {entry["name"]: entry["rate"] for entry in plan.summary["entries"]}


def _flat_inputs(plan: Plan) -> dict[str, Any]:
    """Inputs by path. Rates are left to a table of their own; datasets go by name and not by number."""
    values = {key: value for key, value in plan.inputs.items() if key != "rates"}
    values["datasets"] = {item["name"]: item for item in values["datasets"]}
    return dict(_flat(values, ""))


def _flat(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from _flat(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list) and value:
        for number, item in enumerate(value):
            yield from _flat(item, f"{path}.{number}")
    else:
        yield path, value


def _compare_packs(a: Plan, b: Plan) -> tuple[tuple[int, int] | None, int, int]:
    """First place that differs, equal packs, packs compared."""
    steps, slots = min(a.steps, b.steps), min(a.packs_per_step, b.packs_per_step)
    to_b = _numbers_in(b, a)
    first: tuple[int, int] | None = None
    equal = 0
    for low in range(0, steps * slots, CHUNK):
        step, slot = np.divmod(np.arange(low, min(low + CHUNK, steps * slots)), slots)
        same = _same_packs(a, step * a.packs_per_step + slot, b, step * b.packs_per_step + slot, to_b)
        equal += int(same.sum())
        if first is None and not same.all():
            at = int(np.argmin(same))
            first = int(step[at]), int(slot[at])
    return first, equal, steps * slots


def _numbers_in(plan: Plan, other: Plan) -> Int64s:
    """Number in `plan` of row 0 of each dataset of `other` [datasets]; -1 where `plan` does not have it."""
    known = dict(zip(plan.datasets, plan.first, strict=True))
    return np.array([known.get(name, -1) for name in other.datasets], dtype=np.int64)


def _same_packs(a: Plan, of_a: Int64s, b: Plan, of_b: Int64s, to_b: Int64s) -> NDArray[np.bool_]:
    """Whether packs `of_a` [k] of a are packs `of_b` [k] of b. to_b: `_numbers_in` of the datasets of a."""
    starts_a, starts_b = a.offsets[of_a].astype(np.int64), b.offsets[of_b].astype(np.int64)
    size = a.offsets[of_a + 1] - starts_a
    same: NDArray[np.bool_] = size == b.offsets[of_b + 1] - starts_b
    size = size[same]
    ends = np.cumsum(size)
    within = np.arange(ends[-1] if ends.size else 0) - np.repeat(ends - size, size)
    at_a, at_b = np.repeat(starts_a[same], size) + within, np.repeat(starts_b[same], size) + within
    rows = a.rows[at_a].astype(np.int64)
    dataset = np.searchsorted(a.first, rows, "right") - 1
    wanted = np.where(to_b[dataset] < 0, -1, to_b[dataset] + rows - a.first[dataset])
    wrong = np.pad(np.cumsum((wanted != b.rows[at_b]) | (a.epochs[at_a] != b.epochs[at_b])), (1, 0))
    same[same] = wrong[ends] == wrong[ends - size]
    return same
