"""The mini track's own world: two coloured balls in a grid of two by two, so that every relation is known.

A picture shows what no word of a prompt tells; `grid_words` are what a perfect reader of its four quarters would say.
Two balls share a row or a column. Rows are 1 metre apart, columns 2 metres. Source: issue on the DataComp track (mini).
"""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from itertools import permutations
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Pixels = NDArray[np.uint8]
Relation = Literal["left of", "right of", "above", "below"]
COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (214, 40, 40),
    "blue": (38, 84, 204),
    "green": (34, 150, 62),
    "yellow": (240, 200, 30),
    "black": (24, 24, 24),
    "pink": (238, 130, 180),
}
EMPTY = "empty"
RELATIONS: tuple[Relation, ...] = ("left of", "right of", "above", "below")
_CELLS: dict[Relation, tuple[tuple[int, int], ...]] = {
    "left of": ((0, 1), (2, 3)),
    "right of": ((1, 0), (3, 2)),
    "above": ((0, 2), (1, 3)),
    "below": ((2, 0), (3, 1)),
}
"""Cells of the first and the second ball, row-major: 0 1 over 2 3."""
PLACES = ("top left", "top right", "bottom left", "bottom right")
METRES = {"left of": 2, "right of": 2, "above": 1, "below": 1}
QUESTION = "Describe this image simply."


@dataclass(frozen=True, kw_only=True, slots=True)
class Scene:
    """relation: of the ball of colour `first` to that of colour `second`. variant: which of the two places for it.

    number: decides how it is drawn, not what is in it.
    """

    first: str
    second: str
    relation: Relation
    variant: int
    number: int

    @property
    def cells(self) -> tuple[str, ...]:
        """Colour of the ball in each of the four cells, or `EMPTY`, row-major."""
        places = _CELLS[self.relation][self.variant]
        return tuple({places[0]: self.first, places[1]: self.second}.get(cell, EMPTY) for cell in range(4))

    @property
    def caption(self) -> str:
        """ "top left red, top right empty, bottom left blue, bottom right empty"."""
        return ", ".join(f"{place} {word}" for place, word in zip(PLACES, self.cells, strict=True))

    def related(self, relation: Relation) -> Scene:
        """The same two balls in another relation."""
        return replace(self, relation=relation)


KINDS = tuple(
    (first, second, relation, variant)
    for first, second in permutations(COLOURS, 2)
    for relation in RELATIONS
    for variant in range(2)
)
"""Every content that a scene may have: 240."""


def scene(seed: int, number: int) -> Scene:
    """Scene `number` of a series; the same for the same seed, whatever else is drawn."""
    rng = np.random.default_rng((seed, number))
    first, second, relation, variant = KINDS[rng.integers(len(KINDS))]
    return Scene(first=first, second=second, relation=relation, variant=variant, number=int(rng.integers(2**31)))


def draw(of: Scene, size: int = 128) -> Pixels:
    """uint8 [size, size, 3]: balls of varying size, shifted within their cells, on ground of a varying light tone."""
    rng = np.random.default_rng(of.number)
    scale = 4
    ground = tuple(int(tone) for tone in rng.integers(205, 250, size=3))
    image = Image.new("RGB", (size * scale, size * scale), ground)
    pen = ImageDraw.Draw(image)
    half = size * scale / 2
    for cell, colour in enumerate(of.cells):
        if colour == EMPTY:
            continue
        radius = half * rng.uniform(0.26, 0.36)
        room = half / 2 - radius - scale
        x = (cell % 2 + 0.5) * half + rng.uniform(-room, room)
        y = (cell // 2 + 0.5) * half + rng.uniform(-room, room)
        tone = tuple(int(np.clip(value + rng.integers(-12, 13), 0, 255)) for value in COLOURS[colour])
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=tone)
    return np.asarray(image.resize((size, size), Image.Resampling.LANCZOS), dtype=np.uint8)


def jpeg(of: Scene, size: int = 128) -> bytes:
    """The picture as a site would serve it."""
    stream = io.BytesIO()
    Image.fromarray(draw(of, size)).save(stream, "JPEG", quality=92)
    return stream.getvalue()


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """A question about a scene. options: answers to choose from, of which `answer` is one; empty where it is free.

    wrong: an answer that is the opposite.
    """

    question: str
    answer: str
    wrong: str
    options: tuple[str, ...] = ()


_OPPOSITE: dict[str, Relation] = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}


def caption_choice(of: Scene) -> Asked:
    """The caption, against those of the same balls in the three other relations."""
    options = tuple(of.related(relation).caption for relation in RELATIONS)
    wrong = of.related(_OPPOSITE[of.relation]).caption
    return Asked(question=QUESTION, answer=of.caption, wrong=wrong, options=options)


def vsr(of: Scene, *, true: bool) -> Asked:
    """A statement in the form of VSR, true or false."""
    relation = of.relation if true else _OPPOSITE[of.relation]
    text = f"The {of.first} ball is {relation} the {of.second} ball."
    return Asked(
        question=f"Is this statement about the image true or false? {text}",
        answer=str(true),
        wrong=str(not true),
        options=("True", "False"),
    )


def blink(of: Scene, *, swapped: bool) -> Asked:
    """Two options in the form of BLINK; swapped: the right one is (B)."""
    side = {"left of": "on the left", "right of": "on the right", "above": "on top", "below": "at the bottom"}
    first, second = (of.second, of.first) if swapped else (of.first, of.second)
    right, wrong = ("(B)", "(A)") if swapped else ("(A)", "(B)")
    question = f"Which ball is {side[of.relation]}? (A) the {first} ball (B) the {second} ball"
    return Asked(question=question, answer=right, wrong=wrong, options=("(A)", "(B)"))


def qualitative(of: Scene, *, true: bool) -> Asked:
    """A yes-or-no question in the form of SpatialRGPT-Bench."""
    relation = of.relation if true else _OPPOSITE[of.relation]
    return Asked(
        question=f"Is the {of.first} ball {relation} the {of.second} ball?",
        answer=f"Yes, the {of.first} ball is {relation} the {of.second} ball."
        if true
        else f"No, the {of.first} ball is {of.relation} the {of.second} ball.",
        wrong=f"No, the {of.first} ball is {_OPPOSITE[relation]} the {of.second} ball."
        if true
        else f"Yes, the {of.first} ball is {relation} the {of.second} ball.",
    )


def quantitative(of: Scene) -> Asked:
    """A distance in metres in the form of SpatialRGPT-Bench."""
    metres = METRES[of.relation]
    return Asked(
        question=f"How far is the {of.first} ball from the {of.second} ball?",
        answer=f"{metres} metres",
        wrong=f"{10 * metres} metres",
    )
