"""Average normalised Levenshtein similarity, of one answer. Source: nine-datasets spec section 4."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from trackyard.errors import DataError

THRESHOLD = 0.5
"""Answers that differ from a reference by this share of the longer one, or more, are worth nothing."""


def anls(prediction: str, references: Sequence[str]) -> float:
    """Similarity to the nearest reference, case ignored. DataError without references."""
    if not references:
        raise DataError(
            what=f"no reference for the answer {prediction!r}",
            why="ANLS is its similarity to the nearest one",
            fix="choose a split whose answers are published",
        )
    lowered = prediction.lower()
    return max(_similarity(lowered, reference.lower()) for reference in references)


def anls_scores(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> NDArray[np.float64]:
    """`anls` of many answers: [answers]. ValueError where the two differ in length."""
    pairs = zip(predictions, references, strict=True)
    return np.array([anls(prediction, accepted) for prediction, accepted in pairs], dtype=np.float64)


def _similarity(first: str, second: str) -> float:
    longest = max(len(first), len(second))
    if first == second:
        return 1.0
    # At least that many edits: most wrong answers end here.
    if abs(len(first) - len(second)) >= THRESHOLD * longest:
        return 0.0
    distance = edit_distance(first, second) / longest
    return 1 - distance if distance < THRESHOLD else 0.0


def edit_distance(first: str, second: str) -> int:
    """Insertions, deletions and substitutions of one character that turn one text into the other.

    A column of the table is two integers, one bit a row: whether a cell is one more, or one less, than the cell above.
    Python's integers have as many bits as `first` has characters, so a column costs some additions whatever its
    height. That needs no compiler, which would take longer to start than all answers of a data set take.
    Source: Hyyrö 2003, a bit-vector algorithm for computing Levenshtein distances, after Myers 1999.
    """
    if not first:
        return len(second)
    rows: dict[str, int] = {}
    for at, character in enumerate(first):
        rows[character] = rows.get(character, 0) | 1 << at
    all_rows, last_row = (1 << len(first)) - 1, 1 << len(first) - 1
    more, less, distance = all_rows, 0, len(first)
    for character in second:
        equal = rows.get(character, 0)
        diagonal = (((equal & more) + more) ^ more) | equal | less
        right_more = less | ~(diagonal | more)
        right_less = more & diagonal
        if right_more & last_row:
            distance += 1
        elif right_less & last_row:
            distance -= 1
        right_more = right_more << 1 | 1
        more = (right_less << 1 | ~(diagonal | right_more)) & all_rows
        less = right_more & diagonal & all_rows
    return distance
