"""Counting: exact, and close enough. Source: molmo2 spec section 14."""

from __future__ import annotations

import math

from trackyard.feed.points import count_of_answer


def is_exact(answer: str, count: int) -> bool:
    """Whether an answer states `count`. An answer that states no number is wrong."""
    return count_of_answer(answer) == count


def is_close(answer: str, count: int) -> bool:
    """Whether an answer is within 1 + floor(count / 20) of `count`: 5 may be off by 1, 40 by 3."""
    stated = count_of_answer(answer)
    return stated is not None and abs(stated - count) <= 1 + math.floor(count / 20)
