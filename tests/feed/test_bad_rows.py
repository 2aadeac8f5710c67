from __future__ import annotations

import pytest

from trackyard.errors import DataError
from trackyard.feed.bad_rows import BadRow, BadRowBudget


def bad(count: int, reason: str = "unreadable image") -> list[BadRow]:
    return [BadRow("set", number, f"id-{number}", reason) for number in range(count)]


def test_one_broken_row_is_always_allowed() -> None:
    budget = BadRowBudget(0.0)
    budget.add(bad(1), rows=10)
    budget.add([], rows=10)
    wanted = r"2 of 30 rows could not be decoded: \{'set: unreadable image': 1, 'set: damaged video': 1\}"
    with pytest.raises(DataError, match=wanted) as caught:
        budget.add(bad(1, "damaged video"), rows=10)
    assert "0.00%" in caught.value.why
    assert "set row 0 ('id-0'): damaged video" in caught.value.why


def test_the_share_is_over_all_rows_so_far() -> None:
    budget = BadRowBudget(0.01)
    for _ in range(10):
        budget.add(bad(1), rows=100)
    assert (budget.rows, budget.bad.total()) == (1000, 10)
    with pytest.raises(DataError, match="11 of 1001 rows"):
        budget.add(bad(1), rows=1)


def test_the_policy_stop_allows_none_and_names_the_rows() -> None:
    budget = BadRowBudget(1.0, "stop")
    budget.add([], rows=100)
    with pytest.raises(DataError) as caught:
        budget.add(bad(2), rows=100)
    assert caught.value.what == (
        "could not be decoded: set row 0 ('id-0'): unreadable image; set row 1 ('id-1'): unreadable image"
    )
    # Negative control: by the other policy the same rows are within the budget.
    BadRowBudget(1.0).add(bad(2), rows=100)
