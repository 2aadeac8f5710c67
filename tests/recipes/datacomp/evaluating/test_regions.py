"""Regions drawn into a picture: outlined where they are, named, and refused where they cannot be shown."""

import io

import numpy as np
import pytest
from PIL import Image

from trackyard.errors import DataError
from trackyard.feed.decode import decode_rgb
from trackyard.recipes.datacomp.evaluating.regions import COLOURS, draw_regions


def picture(width: int = 200, height: int = 160) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (width, height), (128, 128, 128)).save(stream, "PNG")
    return stream.getvalue()


def test_an_outline_lies_on_its_box_and_the_inside_stays() -> None:
    drawn = decode_rgb(draw_regions(picture(), "p", [[60, 50, 150, 120], [10, 100, 40, 150]]), "p").astype(int)
    assert drawn.shape == (160, 200, 3)
    for number, (x, y) in enumerate(((100, 120), (10, 130))):
        assert np.abs(drawn[y, x] - COLOURS[number]).max() < 60
    assert np.abs(drawn[85, 105] - 128).max() < 8
    assert np.abs(drawn[10, 190] - 128).max() < 8


def test_names_stay_inside_and_corners_are_moved_to_the_edge() -> None:
    drawn = decode_rgb(draw_regions(picture(), "p", [[150, -20, 400, 90]]), "p").astype(int)
    assert np.abs(drawn[60, 199] - COLOURS[0]).max() < 60
    assert (np.abs(drawn - 255).max(axis=2) < 60).any()


def test_the_same_picture_is_drawn_the_same_again() -> None:
    assert draw_regions(picture(), "p", [[5, 5, 50, 50]]) == draw_regions(picture(), "p", [[5, 5, 50, 50]])


@pytest.mark.parametrize("box", [[5, 5, 5, 50], [300, 5, 350, 50], [1, 2, 3], [0, 0, float("nan"), 9]])
def test_a_region_without_an_area_is_refused(box: list[float]) -> None:
    with pytest.raises(DataError, match=r"region \[1\] of p"):
        draw_regions(picture(), "p", [[5, 5, 50, 50], box])
