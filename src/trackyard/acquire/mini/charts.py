"""Bar charts: three or four coloured bars on a base line, with clearly different heights."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trackyard.acquire.mini.draft import Box, sample
from trackyard.acquire.mini.drawing import COLOURS, SQUARE, blank, draw_shape, paper, png
from trackyard.row import Media

HEIGHTS = (12, 20, 28, 36, 44, 52)
"""Pixels; eight apart, a whole patch of the tiny model."""
FLOOR = 4
"""Pixels below the bars."""
AXIS = (110, 110, 110)


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar; box in pixels."""

    colour: str
    height: int
    box: Box


@dataclass(frozen=True, slots=True)
class Chart:
    """Bars from left to right, all of different colours and heights."""

    bars: tuple[Bar, ...]
    size: tuple[int, int]

    @property
    def tallest(self) -> Bar:
        return max(self.bars, key=lambda bar: bar.height)

    @property
    def shortest(self) -> Bar:
        return min(self.bars, key=lambda bar: bar.height)


def draw_chart(rng: np.random.Generator, bars: int, size: tuple[int, int] = SQUARE) -> tuple[Chart, Media]:
    """Draw a chart of `bars` bars in equal slots; a bar is two thirds of its slot wide, and even."""
    width, height = size
    base = height - FLOOR
    slot = (width - 4) / bars
    half = int(slot / 3)
    made = []
    for k, (colour, tall) in enumerate(zip(sample(rng, tuple(COLOURS), bars), sample(rng, HEIGHTS, bars), strict=True)):
        middle = round(4 + slot * (k + 0.5))
        made.append(Bar(colour, tall, (middle - half, base - tall, middle + half, base)))
    image, pen = blank(size, paper(rng))
    pen.rectangle((1, base, width - 1, base + 1), fill=AXIS)
    pen.rectangle((1, 2, 2, base), fill=AXIS)
    for bar in made:
        draw_shape(pen, "square", bar.box, COLOURS[bar.colour])
    return Chart(tuple(made), size), png(image)
