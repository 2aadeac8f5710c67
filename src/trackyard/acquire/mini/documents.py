"""Pictures of text: two-line forms ("CITY ROME") and signs with one word."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trackyard.acquire.mini.draft import pick, sample
from trackyard.acquire.mini.drawing import COLOURS, SQUARE, WIDE, blank, draw_word, paper, png, word_width
from trackyard.row import Media

FIELDS: dict[str, tuple[str, ...]] = {
    "PET": ("CAT", "DOG", "COW", "PIG"),
    "CITY": ("ROME", "OSLO", "LIMA", "KIEL"),
    "DAY": ("MON", "TUE", "FRI", "SUN"),
    "AGE": ("2", "3", "4", "5", "6", "7", "8", "9"),
}
WORDS = ("STOP", "OPEN", "TAXI", "CAFE", "EXIT", "BANK", "SHOP", "ZOO", "BUS", "PARK", "HOT", "ICE")
LINE = 19
"""Font size of a form, pixels."""
INKS = ((20, 20, 20), (30, 40, 120), (110, 30, 30))


@dataclass(frozen=True, slots=True)
class Form:
    """Two fields from top to bottom: key and value."""

    fields: tuple[tuple[str, str], ...]


def draw_form(rng: np.random.Generator) -> tuple[Form, Media]:
    """A wide page with two lines, each a key and its value."""
    fields = tuple((key, pick(rng, FIELDS[key])) for key in sample(rng, tuple(FIELDS), 2))
    image, pen = blank(WIDE, paper(rng))
    ink = pick(rng, INKS)
    for line, (key, value) in enumerate(fields):
        y = 17 + 31 * line + int(rng.integers(-2, 3))
        draw_word(pen, key, (int(rng.integers(2, 4)), y), size=LINE, colour=ink)
        draw_word(pen, value, (58 + int(rng.integers(0, 2)), y), size=LINE, colour=ink)
    return Form(fields), png(image)


@dataclass(frozen=True, slots=True)
class Sign:
    """A coloured board with a word."""

    colour: str
    word: str


def draw_sign(rng: np.random.Generator) -> tuple[Sign, Media]:
    """A sign over most of the picture; white letters, black ones on yellow."""
    sign = Sign(pick(rng, tuple(COLOURS)), pick(rng, WORDS))
    size = 22
    image, pen = blank(SQUARE, paper(rng))
    top = int(rng.integers(10, 17))
    pen.rectangle((0, top, 63, top + 35), fill=COLOURS[sign.colour])
    ink = (20, 20, 20) if sign.colour == "yellow" else (255, 255, 255)
    left = (SQUARE[0] - word_width(sign.word, size=size)) // 2
    draw_word(pen, sign.word, (left, top + 18 + int(rng.integers(-2, 3))), size=size, colour=ink)
    return sign, png(image)
