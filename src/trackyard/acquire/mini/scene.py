"""Scenes: a few large, separate, coloured shapes on light paper, and the words that name them.

Centres lie on a lattice of few values (five per axis at 64 px), so a model of under a million parameters meets every
coordinate many times in a short run; sizes, colours and paper vary freely.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trackyard.acquire.mini.draft import Box, chance, pick, sample
from trackyard.acquire.mini.drawing import COLOURS, SHAPES, SQUARE, blank, draw_shape, paper, png
from trackyard.row import Media

EDGE = 18
"""Pixels from a lattice end to the image's edge."""
GAP = 2
"""Pixels of paper between two shapes, at least."""
NUMBERS = ("zero", "one", "two", "three", "four")
PLURALS = {"circle": "circles", "square": "squares", "triangle": "triangles", "cross": "crosses"}


@dataclass(frozen=True, slots=True)
class Look:
    """What a shape looks like."""

    colour: str
    shape: str

    def __str__(self) -> str:
        return f"{self.colour} {self.shape}"


ALL_LOOKS = tuple(Look(colour, shape) for colour in COLOURS for shape in SHAPES)


@dataclass(frozen=True, slots=True)
class Label:
    """A name for shapes: by colour ("red shapes"), by shape ("circles") or by both ("red circle")."""

    colour: str | None
    shape: str | None

    def __str__(self) -> str:
        if self.shape is None:
            return f"{self.colour} shapes"
        return PLURALS[self.shape] if self.colour is None else f"{self.colour} {self.shape}"

    def fits(self, look: Look) -> bool:
        return self.colour in (None, look.colour) and self.shape in (None, look.shape)


def group_label(rng: np.random.Generator) -> Label:
    """A label that several shapes can share."""
    if chance(rng, 0.5):
        return Label(None, pick(rng, SHAPES))
    return Label(pick(rng, tuple(COLOURS)), None)


def labels_of(rng: np.random.Generator, look: Look) -> list[Label]:
    """Two of the three labels that fit `look`."""
    return sample(rng, (Label(look.colour, None), Label(None, look.shape), Label(look.colour, look.shape)), 2)


def label_of(rng: np.random.Generator, look: Look) -> Label:
    """One of the three labels that fit `look`."""
    return pick(rng, (Label(look.colour, None), Label(None, look.shape), Label(look.colour, look.shape)))


@dataclass(frozen=True, slots=True)
class Item:
    """A shape at a place: x, y is its centre and `diameter` (even) its extent, in pixels."""

    look: Look
    x: int
    y: int
    diameter: int

    @property
    def box(self) -> Box:
        half = self.diameter // 2
        return self.x - half, self.y - half, self.x + half, self.y + half


def lattice(length: int) -> list[int]:
    """The possible centres along an axis of `length` pixels: about every 28 px from EDGE to length - EDGE."""
    steps = (length - 2 * EDGE) // 25
    return [round(EDGE + (length - 2 * EDGE) * k / steps) for k in range(steps + 1)]


def apart(a: Box, b: Box) -> bool:
    """True if at least GAP pixels of paper lie between two boxes."""
    return a[2] + GAP <= b[0] or b[2] + GAP <= a[0] or a[3] + GAP <= b[1] or b[3] + GAP <= a[1]


def place(rng: np.random.Generator, looks: Sequence[Look], size: tuple[int, int] = SQUARE) -> list[Item]:
    """Put each of up to four looks somewhere without overlap."""
    while True:  # ends: up to four shapes have a place of their own, and most tries find one
        items: list[Item] = []
        for look in looks:
            diameter = int(rng.integers(9, 13)) * 2
            item = Item(look, pick(rng, lattice(size[0])), pick(rng, lattice(size[1])), diameter)
            left, top, right, bottom = item.box
            inside = min(left, top, size[0] - right, size[1] - bottom) >= 1
            if not inside or not all(apart(item.box, other.box) for other in items):
                break
            items.append(item)
        else:
            return items


def picture(rng: np.random.Generator, items: Sequence[Item], size: tuple[int, int] = SQUARE) -> Media:
    """Draw the items on fresh paper."""
    image, pen = blank(size, paper(rng))
    for item in items:
        draw_shape(pen, item.look.shape, item.box, COLOURS[item.look.colour])
    return png(image)


def position(item: Item, size: tuple[int, int] = SQUARE) -> str:
    """Coarse place by thirds: "top left", "top", "top right", "left", "centre" and so on."""
    column = ("left", "", "right")[item.x * 3 // size[0]]
    row = ("top", "", "bottom")[item.y * 3 // size[1]]
    return f"{row} {column}".strip() or "centre"


def caption(items: Sequence[Item], size: tuple[int, int] = SQUARE) -> str:
    """How many objects there are, then each with colour, shape and place, from top to bottom and left to right."""
    parts = [f"a {item.look} at the {position(item, size)}" for item in sorted(items, key=lambda i: (i.y, i.x))]
    head = "There is one object" if len(parts) == 1 else f"There are {NUMBERS[len(parts)]} objects"
    return f"{head}: {join(parts)}."


def join(parts: Sequence[str]) -> str:
    """a / a and b / a, b and c."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def counted_looks(rng: np.random.Generator, label: Label, count: int, others: int) -> list[Look]:
    """`count` looks that fit `label` and `others` that do not."""
    fitting = [look for look in ALL_LOOKS if label.fits(look)]
    rest = [look for look in ALL_LOOKS if not label.fits(look)]
    return [pick(rng, fitting) for _ in range(count)] + [pick(rng, rest) for _ in range(others)]
