"""Rows without media (tulu): short instructions with one exact answer.

There are few opposites, sums and words to repeat, so validation asks some of what training asked; lists of words
are mostly new.
"""

from __future__ import annotations

import numpy as np

from trackyard.acquire.mini.draft import Draft, ask, pick, sample
from trackyard.acquire.mini.drawing import COLOURS, SHAPES

OPPOSITES = {
    "left": "right",
    "right": "left",
    "top": "bottom",
    "bottom": "top",
    "up": "down",
    "down": "up",
    "yes": "no",
    "no": "yes",
}
COPY_WORDS = (*COLOURS, *SHAPES, *OPPOSITES, "object", "image", "bar", "sign")


def instruction(rng: np.random.Generator, index: int) -> Draft:
    """In turn: repeat words, repeat one word twice, first and last of a list, the opposite, a sum."""
    words = sample(rng, COPY_WORDS, 3)
    word, count = words[0], int(rng.integers(2, 4))
    a, b = (int(n) for n in rng.integers(0, 10, size=2))
    opposite = pick(rng, tuple(OPPOSITES))
    question, answer = (
        (f"Repeat the words: {' '.join(words[:count])}", " ".join(words[:count])),
        (f"Repeat the word {word} two times.", f"{word} {word}"),
        (f"What is the first word of: {' '.join(words)}?", words[0]),
        (f"What is the last word of: {' '.join(words)}?", words[-1]),
        (f"What is the opposite of {opposite}?", OPPOSITES[opposite]),
        (f"What is {a} plus {b}?", str(a + b)),
    )[index % 6]
    return Draft(conversations=(ask(question, answer),))
