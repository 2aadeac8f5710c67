"""Made-up answers of the kind that people and models give to VQA v2's questions, with everything its code normalises.

Standard library only: peers score them as well. A set is a prediction and ten references: 0 to 10 of them give the
answer, the others one of a few wrong ones. In half of the sets all ten are written alike, as most of the data set is;
in the others each is written in some way of its own.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

REFERENCES = 10
NOUNS = 20_000
"""Distinct nouns, drawn by Zipf's law."""
_ONSETS = ("b", "br", "c", "ch", "d", "f", "g", "h", "k", "l", "m", "n", "p", "pl", "r", "s", "st", "t", "tr", "w")
_VOWELS = ("a", "e", "i", "o", "u", "ai", "ea", "oo")
_ENDS = ("", "n", "r", "s", "t", "l", "nd", "ck", "m", "ng")
_COUNTS = ("none", "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven")
_COLOURS = ("red", "dark blue", "black and white", "t-shirt green", "grey/white", "yellow & red", "light-brown")
_SHORTENED = (
    "can't tell", "don't know", "he's skiing", "it's the dog's", "there's 2", "they're eating", "let's go", "she's sad",
    "shouldn't've", "y'all'd've", "somebody'd", "I'm not sure", "o'clock", "what's this", "won't", "who'd've",
    "it'd've",
)  # fmt: skip
_FIGURES = (
    "1,000", "12,500.50", "3.5", ".5", "10:30", "10:30 a.m.", "$5.99", "100%", "1/2", "2-3", "no. 7", "5,6", "3 ft.",
    "u.s.a.", "7.", "1 + 1", "50 - 60", "#12", "20 @ 5", "٣,٤", "½",
)  # fmt: skip
_MARKED = (
    "yes, it is", "stop!", 'it says "stop"', "cat; dog", "[sign]", "(left)", "a_b", "what?", "x > y", "`go`", "{ }",
    "a \\ b", "no ; yes", "left -", "café", "two  blanks", "tab\there", "line\nbreak", "NULL", "n/a", "a", "the", "...",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class AnswerSet:
    """What a model answered, and ten people."""

    prediction: str
    references: list[str]


def made(count: int, seed: int) -> list[AnswerSet]:
    """`count` sets, the same for a seed."""
    rng = random.Random(seed)
    nouns = _nouns(rng)
    return [_one(rng, nouns) for _ in range(count)]


def as_json(sets: list[AnswerSet]) -> list[dict[str, Any]]:
    return [asdict(one) for one in sets]


def _nouns(rng: random.Random) -> list[str]:
    syllables = [onset + vowel + end for onset in _ONSETS for vowel in _VOWELS for end in _ENDS]
    return ["".join(rng.choices(syllables, k=rng.choice((1, 2, 2, 3)))) for _ in range(NOUNS)]


def _noun(rng: random.Random, nouns: list[str]) -> str:
    # The inverse of the distribution function of 1/rank: rank r as often as 1/r.
    return nouns[int(len(nouns) ** rng.random()) - 1]


def _one(rng: random.Random, nouns: list[str]) -> AnswerSet:
    right = _answer(rng, nouns)
    wrong = [_answer(rng, nouns) for _ in range(rng.randint(1, 4))]
    agreeing = rng.choice((0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 10, 10))
    references = [right] * agreeing + [rng.choice(wrong) for _ in range(REFERENCES - agreeing)]
    if rng.random() < 0.5:
        references = [_written(rng, reference) for reference in references]
    rng.shuffle(references)
    kind = rng.random()
    if kind < 0.02:
        return AnswerSet(rng.choice(("", " ", "the", "A", "an.", "?", "a, the")), references)
    return AnswerSet(_written(rng, right if kind < 0.8 else rng.choice(wrong)), references)


def _answer(rng: random.Random, nouns: list[str]) -> str:
    kind = rng.random()
    if kind < 0.3:
        return rng.choice(("yes", "no"))
    if kind < 0.42:
        return rng.choice((rng.choice(_COUNTS), str(rng.randint(0, 30))))
    if kind < 0.72:
        return _noun(rng, nouns)
    if kind < 0.82:
        return f"{rng.choice(('a', 'an', 'the', 'on the', 'two', 'big'))} {_noun(rng, nouns)}"
    return rng.choice(rng.choice((_COLOURS, _SHORTENED, _FIGURES, _MARKED)))


_WAYS: tuple[Callable[[random.Random, str], str], ...] = (
    lambda rng, text: text.capitalize(),
    lambda rng, text: text.upper(),
    lambda rng, text: f"{text}{rng.choice(('.', '!', '?', ',', ';', '...', ' .', ' ,', '/', '-'))}",
    lambda rng, text: f"{rng.choice(('a', 'the', 'An', 'The'))} {text}",
    lambda rng, text: text.replace("'", "", 1),
    lambda rng, text: text.replace(" ", rng.choice(("-", "/", ", ", "_", "  ", "\n", "\t"))),
    lambda rng, text: f"{rng.choice((' ', chr(9), chr(10)))}{text} ",
    lambda rng, text: f"{rng.choice(('(', '[', chr(34), '`'))}{text}{rng.choice((')', ']', chr(34), '`'))}",
    lambda rng, text: str(_COUNTS.index(text) - 1) if text in _COUNTS[1:] else text,
)


def _written(rng: random.Random, text: str) -> str:
    """The same answer, as somebody else would write it."""
    while rng.random() < 0.35:
        text = rng.choice(_WAYS)(rng, text)
    return text
