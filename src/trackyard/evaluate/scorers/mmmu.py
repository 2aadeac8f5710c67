"""MMMU's reading of answers, without its guesses. Source: nine-datasets spec section 4, MMMU's `eval_utils.py`.

The official code draws an option at random where it can read none; here such an answer is unparsed and worth 0, or the
expected value of a guess in `mmmu_expected`. All else is as there, oddities included.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from string import ascii_uppercase

_OUTER = ",.!?;:'"
_LONG_ANSWER = 6
"""Words from which on an option may be named by its text."""
_LEADS = ("could be ", "so ", "is ", "thus ", "therefore ", "final ", "answer ", "result ")
_EQUATION = "="
_TRIVIAL = frozenset(":,.!?;'")
_NUMBERS = (
    # Grouped in thousands, with an exponent, and plain, in the order in which they are listed.
    re.compile(r"-?\b\d{1,3}(?:,\d{3})+\b"),
    re.compile(r"-?\d+(?:\.\d+)?[eE][+-]?\d+"),
    re.compile(r"-?(?:\d+\.\d+|\.\d+|\d+\b)(?![eE][+-]?\d+)(?![,\d])"),
)


def parsed_choice(answer: str, options: Sequence[str]) -> int | None:
    """Index of the option that an answer names, the last one if it names several; None where no rule reads one."""
    for mark in _OUTER:
        answer = answer.strip(mark)
    padded = f" {answer} "
    letters = ascii_uppercase[: len(options)]
    for form in ("({})", " {} "):
        places = [padded.rfind(form.format(letter)) for letter in letters]
        if max(places, default=-1) >= 0:
            return places.index(max(places))
    if len(padded.split()) < _LONG_ANSWER:
        return None
    places = [padded.lower().rfind(option.lower()) for option in options]
    return places.index(max(places)) if max(places, default=-1) >= 0 else None


def parsed_open(answer: str) -> list[str | float]:
    """Everything that an answer to an open question may state: tails of its lines, and the numbers in them."""
    whole = answer.strip().strip(".").lower()
    # The official code also cuts before a capital, of which it has left none by then.
    lines = whole.split("\n")
    tails = [_shortest_tail(line, last=line_number == len(lines) - 1) for line_number, line in enumerate(lines)]
    stated = [tail for tail in tails if tail and tail not in _TRIVIAL] or [whole]
    numbers = [number for text in stated for pattern in _NUMBERS for number in pattern.findall(text)]
    return list(dict.fromkeys(value for text in (*stated, *numbers) for value in _values(text)))


def mmmu_open(answer: str, references: Sequence[str]) -> float:
    """1 if a stated text holds a reference, or a stated number equals one; else 0."""
    right = [value for reference in references for value in _values(reference)]
    # Nothing is in every text, so a reference of nothing would make every answer right.
    texts = [value for value in right if isinstance(value, str) and value]
    return float(
        any(
            any(text in stated for text in texts) if isinstance(stated, str) else stated in right
            for stated in parsed_open(answer)
        )
    )


def mmmu(answer: str, options: Sequence[str], answer_index: int | None, references: Sequence[str] = ()) -> float:
    """1 if right. options: empty for an open question, which references then answer."""
    if options:
        return float(parsed_choice(answer, options) == answer_index)
    return mmmu_open(answer, references)


def mmmu_expected(
    answer: str, options: Sequence[str], answer_index: int | None, references: Sequence[str] = ()
) -> float:
    """`mmmu` as it would be on average if an option were drawn where an answer names none; empty ones stay wrong."""
    if options and answer.strip() and parsed_choice(answer, options) is None:
        return 1 / len(options)
    return mmmu(answer, options, answer_index, references)


def _shortest_tail(line: str, *, last: bool) -> str:
    """What follows a word that leads to a result; of several, the shortest that is not empty at its turn."""
    shortest = ""
    for lead in (*_LEADS, _EQUATION) if last else _LEADS:
        _, found, tail = line.rpartition(lead)
        tail = tail.strip()
        if found and (not shortest or len(tail) < len(shortest)):
            shortest = tail
    return shortest


def _values(text: str) -> list[str | float]:
    """A number rounded to two decimals, else the text; one character only where a blank is beside it."""
    text = text.strip()
    try:
        return [round(float(text.replace(",", "")), 2)]
    except ValueError:
        lowered = text.lower()
    return [f" {lowered}", f"{lowered} "] if len(lowered) == 1 else [lowered]
