"""Made-up answers to questions of MMMU's two kinds, with everything that its parser looks for.

A choice is answered by a letter in one of many forms, by the text of an option, or by neither; an open question by
lines that lead to a result, numbers in every form, equations, or words.
"""

from __future__ import annotations

import random
from dataclasses import asdict, dataclass
from string import ascii_uppercase
from typing import Any

_TEXTS = (
    "red", "dark blue", "0.5", "12", "$1,200", "<image 2>", "Both A and C", "None of the above", "I only", "a",
    "I and II", "The cat sat", "x = 4", "Paris.", "-3", "10 m/s", "Aurelia", "Hermione", "50%",
    "GEORGES SEURAT", "ii", "yes", "no",
)  # fmt: skip
_LETTERED = (
    "{0}", "({0})", "{0}.", "{0}. {2}", "({0}) {2}", "The answer is {0}.", "The answer is ({0}).", "maybe {0} or {1}",
    "({0}) is wrong, so ({1})", "Answer: {0}", "{0}\n", "option {0} , not {1} .", "I think {0} is right: {2}", "'{0}'",
    ".,{0},.", "{0}{1}", "It must be {0}, as {1} is not\nA reason follows", "{3}", "({3})", "**{0}**", "  {0}  ",
)  # fmt: skip
_NAMED = (
    "It is the colour {2} in this picture here", "{2}", "Looking closely, one sees {2} rather than {4} there",
    "the {2}.", "Neither of the two can be seen in it", "unsure", "", "I do not know what is meant by this",
    "A dog and I like it",
)  # fmt: skip
_LEADS = (
    "could be",
    "so",
    "is",
    "thus",
    "therefore",
    "the final",
    "the answer",
    "the result",
    "hence",
    "we get",
    "x =",
)
_ENDS = ("", ".", " m.", " kg", ",", "!", ":", "?", " .", "%", " dollars", ", or 12", " = 3", "...")
_WORDS = ("mitosis", "Louis XIV", "no idea", "a", "B", "pi", "the red one", "x", "inf", "left", "answer", "is it")


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """A question and what was answered. options: empty for an open one. right: letters, or accepted answers."""

    source: str
    answer: str
    options: list[str]
    right: list[str]


def made(count: int, seed: int) -> list[Asked]:
    """`count` answers, choices and open ones in turn, the same for a seed."""
    rng = random.Random(seed)
    return [_open(rng) if number % 2 else _choice(rng) for number in range(count)]


def as_json(asked: list[Asked]) -> list[dict[str, Any]]:
    return [asdict(one) for one in asked]


def _choice(rng: random.Random) -> Asked:
    options = rng.sample(_TEXTS, rng.randint(2, 10))
    letters = ascii_uppercase[: len(options)]
    beyond = rng.choice(ascii_uppercase)
    texts = (rng.choice(letters), rng.choice(letters), rng.choice(options), beyond, rng.choice(options))
    answer = rng.choice(rng.choice((_LETTERED, _NAMED))).format(*texts)
    if rng.random() < 0.1:
        answer = answer.swapcase()
    return Asked(source="made: choice", answer=answer, options=options, right=[rng.choice(letters)])


def _open(rng: random.Random) -> Asked:
    value = _value(rng)
    right = [value] if rng.random() < 0.8 else [value, _value(rng)]
    stated = value if rng.random() < 0.5 else _value(rng)
    lines = [_line(rng, _value(rng)) for _ in range(rng.choice((0, 0, 1, 2)))] + [_line(rng, stated)]
    return Asked(source="made: open", answer=rng.choice(("\n", ". ", ".\n")).join(lines), options=[], right=right)


def _line(rng: random.Random, value: str) -> str:
    leads = rng.choices(_LEADS, k=rng.choice((0, 1, 1, 2)))
    line = " ".join((*rng.choices(("It", "we see", "now", "1 of 3"), k=rng.randint(0, 2)), *leads, value))
    return f"{line}{rng.choice(_ENDS)}"


def _value(rng: random.Random) -> str:
    number = rng.choice((rng.randint(-20, 20), rng.randint(0, 2_000_000), rng.uniform(-10, 10)))
    forms = (str(number), f"{number:,}", f"{number:.2e}", f"{number:.1f}", f"{number:.3f}", f"${number}", f"1_{number}")
    return rng.choice((*forms[:5], *forms, *_WORDS))
