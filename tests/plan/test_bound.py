"""The bound on fill: exact cases, and no packing beats it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trackyard.plan.bound import fill_bound, least_packs
from trackyard.plan.packing import Budget, first_fit_decreasing


@pytest.mark.parametrize(
    ("tokens", "inputs", "packs", "fill"),
    [(300, 0, 3, 1), (300, 15, 3, 1), (300, 30, 6, 0.5), (50, 0, 0.5, 1)],
)
def test_the_scarcer_budget_decides(tokens: int, inputs: int, packs: float, fill: float) -> None:
    budget = Budget(tokens=100, inputs=5)
    assert least_packs(tokens, inputs, budget=budget) == pytest.approx(packs)
    assert fill_bound(tokens, inputs, budget=budget) == pytest.approx(fill)


def test_a_budget_of_no_inputs() -> None:
    assert fill_bound(70, 0, budget=Budget(tokens=100, inputs=0)) == 1


@settings(max_examples=40)
@given(rows=st.lists(st.tuples(st.integers(1, 100), st.integers(0, 5)), min_size=1, max_size=30))
def test_no_packing_beats_it(rows: list[tuple[int, int]]) -> None:
    budget = Budget(tokens=100, inputs=5)
    tokens, inputs = [row[0] for row in rows], [row[1] for row in rows]
    packs = len(first_fit_decreasing(tokens, inputs, budget=budget))
    assert packs >= least_packs(sum(tokens), sum(inputs), budget=budget) - 1e-9
    assert sum(tokens) / (packs * 100) <= fill_bound(sum(tokens), sum(inputs), budget=budget) + 1e-9
