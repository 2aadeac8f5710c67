"""VQA accuracy: the share of people who gave the same answer. Source: nine-datasets spec section 4, `vqaEval.py`.

The official code leaves answers as they are where all references agree; here both sides are always brought into the
normal form, else `Yes` against ten `yes` is worth nothing. A prediction of which nothing is left in the normal form is
worth 0; the official code lets it match references of which nothing is left either.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from trackyard.errors import DataError
from trackyard.evaluate.scorers.contractions import CONTRACTIONS

AGREEING = 3
"""References that make an answer fully right."""
_MARKS = frozenset(';/[]"{}()=+\\_-><@`,?!')
# ASCII digits, as the official code's interpreter reads \d.
_GROUPED_NUMBER = re.compile("[0-9],[0-9]")
_NO_DECIMAL_POINT = re.compile(r"\.(?![0-9])")
_ARTICLES = frozenset(("a", "an", "the"))
_NUMBER_WORDS = "zero one two three four five six seven eight nine ten"
_NUMBERS = {"none": "0"} | {word: str(number) for number, word in enumerate(_NUMBER_WORDS.split())}


@lru_cache(maxsize=1 << 18)
def normalised(text: str) -> str:
    """The normal form N in which answers are compared; "" of text that is an article or punctuation alone."""
    text = text.replace("\n", " ").replace("\t", " ").strip()
    plain = text
    found = _MARKS.intersection(text)
    if found:
        grouped = _GROUPED_NUMBER.search(text) is not None
        for mark in found:
            glued = not grouped and f"{mark} " not in text and f" {mark}" not in text
            plain = plain.replace(mark, " " if glued else "")
    if "." in plain:
        plain = _NO_DECIMAL_POINT.sub("", plain)
    words = (_NUMBERS.get(word, word) for word in plain.lower().split())
    return " ".join(CONTRACTIONS.get(word, word) for word in words if word not in _ARTICLES)


def leave_one_out(matching: int, references: int) -> float:
    """Mean of min(matching among the others / 3, 1) over every choice of one reference to leave out.

    Fewer than four references cannot give 1: what is left after leaving one out is fewer than three.
    """
    left_out = matching * min((matching - 1) / AGREEING, 1.0)
    kept = (references - matching) * min(matching / AGREEING, 1.0)
    return (left_out + kept) / references


def vqa(prediction: str, references: Sequence[str]) -> float:
    """Official accuracy, of any number of references. DataError without one."""
    return leave_one_out(_matching(prediction, references), len(references))


def vqa_simple(prediction: str, references: Sequence[str]) -> float:
    """min(matching / 3, 1). DataError without references."""
    return min(_matching(prediction, references) / AGREEING, 1.0)


def vqa_scores(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> NDArray[np.float64]:
    """`vqa` of many answers: [answers]. ValueError where the two differ in length."""
    pairs = zip(predictions, references, strict=True)
    return np.array([vqa(prediction, accepted) for prediction, accepted in pairs], dtype=np.float64)


def _matching(prediction: str, references: Sequence[str]) -> int:
    if not references:
        raise DataError(
            what=f"no reference for the answer {prediction!r}",
            why="VQA accuracy is the share of references that agree with it",
            fix="choose a split whose answers are published",
        )
    wanted = normalised(prediction)
    if not wanted:
        return 0
    return [normalised(reference) for reference in references].count(wanted)
