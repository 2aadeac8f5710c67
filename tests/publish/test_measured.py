"""An interval stands where the record allows one, and nowhere else."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from trackyard.evaluate.intervals import wilson
from trackyard.publish.measured import WILSON, share


@given(st.integers(1, 5000), st.data())
def test_a_share_has_wilson_s_interval(n: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(0, n))
    found = share("x accuracy", count / n, n, "items")
    ends = wilson(count, n)
    assert (found.low, found.high, found.how) == (ends.low, ends.high, WILSON)
    assert ends.low <= found.value <= ends.high


def test_graded_scores_have_none() -> None:
    """0.5243 of 96 questions is no number of right answers."""
    found = share("validation pointing", 0.5243055555555556, 96, "questions", start=0.25, chance=0.1)
    assert (found.low, found.high, found.start, found.chance) == (None, None, 0.25, 0.1)
    assert share("nothing", 0.0, 0, "items").low is None
