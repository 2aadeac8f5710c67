"""Counts that are exact and counts that are close. Molmo2 spec section 14."""

from __future__ import annotations

import pytest

from trackyard.evaluate.counting import is_close, is_exact


@pytest.mark.parametrize(("count", "off"), [(5, 1), (19, 1), (20, 2), (40, 3), (0, 1)])
def test_how_far_is_close(count: int, off: int) -> None:
    assert is_close(str(count + off), count)
    assert not is_close(str(count + off + 1), count)
    assert is_exact(str(count), count)
    assert not is_exact(str(count + 1), count)


def test_an_answer_without_a_number_is_neither() -> None:
    assert not is_exact("a few", 0)
    assert not is_close("a few", 0)
    assert is_exact("There are none.", 0)
