"""The best subset for a limited disk: which entries to bring when not all of them fit.

Entries share what they need (one set of COCO images serves several), so this is a knapsack with two limits and
prerequisites; HiGHS solves it exactly at the catalogue's size. Source: pains 4 and 5.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import fsum

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import coo_array

from trackyard.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """Something that could be brought. value: what it is worth, its share of the reference mixture; 0 for what is only
    good with others. bytes and files: its own. needs: names of the candidates that must come with it."""

    name: str
    value: float
    bytes: int
    files: int
    needs: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Chosen:
    """names: what is worth something and fits, in the order given. shared: what comes only because it is needed.
    left_out: what is worth something and does not fit. bytes, files: of names and shared."""

    names: tuple[str, ...]
    shared: tuple[str, ...]
    left_out: tuple[str, ...]
    value: float
    bytes: int
    files: int


def choose(candidates: Sequence[Candidate], *, max_bytes: int, max_files: int | None = None) -> Chosen:
    """The choice of the greatest value within both limits.

    ConfigError if a need is no candidate, or if the solver proves no optimum.
    """
    problem = _Problem({candidate.name: candidate for candidate in candidates}, max_bytes, max_files)
    # The solver computes in floating point with a tolerance; the budget is exact. Where an optimum lies within the
    # tolerance of a limit, the exact greedy choice may be the better of the two that are allowed.
    best = max(problem.allowed(problem.optimum()), problem.greedy(), key=problem.value)
    size, files = problem.total(best)
    taken = problem.closed(best)
    return Chosen(
        names=tuple(item.name for item in candidates if item.name in taken and item.value > 0),
        shared=tuple(item.name for item in candidates if item.name in taken and item.value == 0),
        left_out=tuple(item.name for item in candidates if item.name not in taken and item.value > 0),
        value=problem.value(best),
        bytes=size,
        files=files,
    )


@dataclass(frozen=True, slots=True)
class _Problem:
    candidates: Mapping[str, Candidate]
    max_bytes: int
    max_files: int | None

    def closed(self, names: Iterable[str]) -> set[str]:
        """`names` with everything that they need, and what that needs."""
        found: set[str] = set()
        waiting = list(names)
        while waiting:
            name = waiting.pop()
            if name in found:
                continue
            if name not in self.candidates:
                raise ConfigError(
                    what=f"{name!r} is needed and is no candidate",
                    why="its bytes would be missing from every total",
                    fix="add it to the selection; `trackyard data show` names what an entry needs",
                )
            found.add(name)
            waiting += self.candidates[name].needs
        return found

    def total(self, names: Iterable[str]) -> tuple[int, int]:
        """(bytes, files) with all that is needed; what several need counts once."""
        taken = [self.candidates[name] for name in self.closed(names)]
        return sum(item.bytes for item in taken), sum(item.files for item in taken)

    def value(self, names: Iterable[str]) -> float:
        return fsum(self.candidates[name].value for name in self.closed(names))

    def fits(self, names: Iterable[str]) -> bool:
        size, files = self.total(names)
        return size <= self.max_bytes and (self.max_files is None or files <= self.max_files)

    def greedy(self) -> set[str]:
        """The plain alternative: by value per byte, whatever still fits."""
        worth = [name for name, item in self.candidates.items() if item.value > 0]
        taken: set[str] = set()
        for name in sorted(worth, key=lambda name: -self.candidates[name].value / (1 + self.total([name])[0])):
            if self.fits({*taken, name}):
                taken.add(name)
        return taken

    def allowed(self, names: set[str]) -> set[str]:
        """`names` without the least of them, until they fit exactly."""
        while not self.fits(names):
            names = names - {min(names, key=lambda name: self.candidates[name].value)}
        return names

    def optimum(self) -> set[str]:
        """The solver's choice, within its tolerance: one variable for each candidate."""
        items = list(self.candidates.values())
        if not items:
            return set()
        self.closed(self.candidates)
        bounds = [self.max_bytes] + ([] if self.max_files is None else [self.max_files])
        # Divided by its limit each row is of order one, whatever the unit.
        rows = np.array(
            [
                [(item.bytes, item.files)[column] / max(1, bound) for item in items]
                for column, bound in enumerate(bounds)
            ]
        )
        constraints = [LinearConstraint(rows, ub=np.minimum(1.0, np.array(bounds, dtype=float)))]
        number = {item.name: position for position, item in enumerate(items)}
        pairs = [(number[item.name], number[need]) for item in items for need in item.needs]
        if pairs:
            # x_item - x_need <= 0: an item comes only with what it needs.
            together = coo_array(
                (np.tile([1.0, -1.0], len(pairs)), (np.repeat(np.arange(len(pairs)), 2), np.array(pairs).ravel())),
                shape=(len(pairs), len(items)),
            )
            constraints.append(LinearConstraint(together, ub=0))
        found = milp(
            np.array([-item.value for item in items]),
            integrality=np.ones(len(items)),
            bounds=Bounds(0, 1),
            constraints=constraints,
            options={"mip_rel_gap": 0.0, "presolve": False},
        )
        if not found.success:
            raise ConfigError(
                what=f"no choice of {len(items)} entries was proved best: {found.message}",
                why="another choice could be better, or none could fit",
                fix="ask for fewer entries, or for another budget",
            )
        # What is worth nothing comes only where it is needed.
        return {item.name for item, x in zip(items, found.x, strict=True) if x > 0.5 and item.value > 0}
