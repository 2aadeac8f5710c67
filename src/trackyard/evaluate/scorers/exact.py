"""Exact match. Source: nine-datasets spec section 4."""

from __future__ import annotations

_SMALL = """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen
seventeen eighteen nineteen"""
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"


def _number_words() -> dict[str, str]:
    small = _SMALL.split()
    found = {word: str(number) for number, word in enumerate(small)}
    for ten, word in enumerate(_TENS.split(), start=2):
        found[word] = str(10 * ten)
        for number in range(1, 10):
            for between in ("-", " "):
                found[f"{word}{between}{small[number]}"] = str(10 * ten + number)
    return found


NUMBER_WORDS = _number_words()
"""Digits by word, zero to ninety-nine."""


def em(prediction: str, reference: str) -> float:
    """1 if both are the same but for case and outer blanks, else 0. An empty prediction is wrong."""
    given = prediction.strip().lower()
    return float(given != "" and given == reference.strip().lower())


def em_number(prediction: str, reference: str) -> float:
    """`em` for which three and 3 are the same."""
    return em(_in_digits(prediction), _in_digits(reference))


def _in_digits(text: str) -> str:
    return NUMBER_WORDS.get(text.strip().lower(), text)
