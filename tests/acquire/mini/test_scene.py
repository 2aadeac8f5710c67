"""Scenes: shapes fill exactly their box, stay apart, and are named as they look."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trackyard.acquire.mini.draft import random_of, sample
from trackyard.acquire.mini.drawing import COLOURS, SHAPES, SQUARE, TALL, WIDE, blank, draw_shape
from trackyard.acquire.mini.scene import (
    ALL_LOOKS,
    Item,
    Label,
    Look,
    apart,
    caption,
    lattice,
    place,
    position,
)


@pytest.mark.parametrize("shape", SHAPES)
@given(half=st.integers(8, 13))
def test_a_shape_fills_its_box_and_covers_its_centre(shape: str, half: int) -> None:
    box = (32 - half, 32 - half, 32 + half, 32 + half)
    image, pen = blank(SQUARE, (240, 240, 240))
    draw_shape(pen, shape, box, COLOURS["red"])
    ys, xs = np.nonzero((np.asarray(image) == COLOURS["red"]).all(axis=2))
    assert (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1) == box
    assert image.getpixel((32, 32)) == COLOURS["red"]


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**31), count=st.integers(1, 4), size=st.sampled_from([SQUARE, WIDE, TALL]))
def test_placed_shapes_are_apart_and_inside(seed: int, count: int, size: tuple[int, int]) -> None:
    rng = random_of(seed)
    items = place(rng, sample(rng, ALL_LOOKS, count), size)
    assert all(apart(a.box, b.box) for i, a in enumerate(items) for b in items[:i])
    for item in items:
        assert item.x in lattice(size[0])
        assert item.y in lattice(size[1])
        assert min(item.box[:2]) >= 1
        assert item.box[2] < size[0]
        assert item.box[3] < size[1]


def test_lattice_has_few_values() -> None:
    assert lattice(64) == [18, 46]
    assert lattice(112) == [18, 43, 69, 94]


def test_positions_by_thirds() -> None:
    look = Look("red", "circle")
    assert [position(Item(look, x, y, 16)) for y in (12, 32, 52) for x in (12, 32, 52)] == [
        *("top left", "top", "top right"),
        *("left", "centre", "right"),
        *("bottom left", "bottom", "bottom right"),
    ]


def test_caption_goes_from_top_to_bottom() -> None:
    items = [Item(Look("blue", "square"), 52, 32, 16), Item(Look("red", "circle"), 12, 12, 16)]
    assert caption(items) == "There are two objects: a red circle at the top left and a blue square at the right."
    assert caption(items[:1]) == "There is one object: a blue square at the right."


def test_labels() -> None:
    red_circle, red_square = Look("red", "circle"), Look("red", "square")
    texts = [str(Label("red", None)), str(Label(None, "cross")), str(Label("red", "circle"))]
    assert texts == ["red shapes", "crosses", "red circle"]
    assert Label("red", None).fits(red_square)
    assert Label(None, "circle").fits(red_circle)
    assert not Label("red", "circle").fits(red_square)
