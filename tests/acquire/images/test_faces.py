"""Faces: where a box lies after a picture is turned, and what is left of what it covers."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from trackyard.acquire.images.faces import as_shown, blur, faces_of, is_box, orientation, text_of

SHARES = st.floats(-0.3, 1.3, allow_nan=False)


@pytest.mark.parametrize("turned", range(1, 9))
def test_a_box_follows_its_picture_however_it_is_turned(turned: int) -> None:
    """Against Pillow's own way to turn a picture: the white field is where the box is said to be."""
    pixels = np.zeros((40, 60), np.uint8)
    pixels[4:12, 9:27] = 255
    exif = Image.Exif()
    exif[0x0112] = turned
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG", exif=exif)
    with Image.open(io.BytesIO(stream.getvalue())) as image:
        assert orientation(image) == turned
        shown = np.asarray(ImageOps.exif_transpose(image))
    x0, y0, x1, y1 = as_shown((9 / 60, 4 / 40, 27 / 60, 12 / 40), turned)
    height, width = shown.shape
    field = shown[round(y0 * height) : round(y1 * height), round(x0 * width) : round(x1 * width)]
    assert field.shape[0] * field.shape[1] == 8 * 18
    assert (field == 255).all()


@pytest.mark.parametrize(
    ("box", "is_one"),
    [
        ((0.1, 0.2, 0.3, 0.4), True),
        ((-0.2, 0.5, 0.1, 1.4), True),
        ((0.1, 0.2, 0.3), False),
        ((0.3, 0.2, 0.3, 0.4), False),
        ((0.4, 0.2, 0.3, 0.4), False),
        ((1.0, 0.2, 1.3, 0.4), False),
        ((0.1, -0.4, 0.3, 0.0), False),
        ((0.1, math.nan, 0.3, 0.4), False),
        ((0.1, 0.2, math.inf, 0.4), False),
    ],
)
def test_what_a_box_is(box: tuple[float, ...], is_one: bool) -> None:
    assert is_box(box) is is_one


@given(x0=SHARES, y0=SHARES, x1=SHARES, y1=SHARES)
def test_a_covered_pattern_is_gone_and_the_rest_is_as_it_was(x0: float, y0: float, x1: float, y1: float) -> None:
    box = (x0, y0, x1, y1)
    pixels = np.indices((64, 96)).sum(0) % 2 * 255
    before = pixels.astype(np.uint8)
    if not is_box(box):
        return
    after = np.asarray(blur(Image.fromarray(before), [box]))
    assert after.shape == before.shape
    left, right = math.floor(max(0, x0) * 96), math.ceil(min(1, x1) * 96)
    top, bottom = math.floor(max(0, y0) * 64), math.ceil(min(1, y1) * 64)
    # Neighbours of a chessboard differ by 255, and hardly at all where it is blurred.
    inside = after[top:bottom, left:right].astype(int)
    assert np.abs(np.diff(inside, axis=0)).max(initial=0) < 100
    assert np.abs(np.diff(inside, axis=1)).max(initial=0) < 100
    reach = math.ceil(0.1 * math.hypot(right - left, bottom - top)) + 1
    outside = np.ones(after.shape, bool)
    outside[max(0, top - reach) : bottom + reach, max(0, left - reach) : right + reach] = False
    assert (after[outside] == before[outside]).all()


def test_boxes_survive_being_written_down() -> None:
    faces = ((0.1, 0.2, 1 / 3, 0.4), (0.5,), (math.inf, 0.0, 1.0, 1.0))
    assert faces_of(text_of(faces)) == faces
    assert text_of(()) == ""
    assert faces_of("") == faces_of(None) == ()
    assert math.isnan(faces_of(text_of(((math.nan,),)))[0][0])
