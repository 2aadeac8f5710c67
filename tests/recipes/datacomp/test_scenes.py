"""What the scenes say is what they show, read back from the pixels."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackyard.recipes.datacomp.scenes import (
    COLOURS,
    EMPTY,
    KINDS,
    Scene,
    blink,
    caption_choice,
    draw,
    jpeg,
    qualitative,
    quantitative,
    scene,
    vsr,
)

numbers = st.integers(0, 10_000)


def centre(picture: np.ndarray, colour: str) -> tuple[float, float] | None:
    """(row, column) of the pixels that are nearest to a colour, None where there are none."""
    near = np.abs(picture.astype(int) - COLOURS[colour]).max(axis=-1) <= 13
    found = np.argwhere(near)
    return None if len(found) < 100 else tuple(found.mean(axis=0))


@given(numbers)
def test_pixels_show_what_the_caption_says(number: int) -> None:
    of = scene(3, number)
    picture = draw(of)
    first, second = centre(picture, of.first), centre(picture, of.second)
    assert first is not None
    assert second is not None
    down, right = second[0] - first[0], second[1] - first[1]
    across = ("left of" if right > 0 else "right of") if abs(right) > abs(down) else None
    assert (across or ("above" if down > 0 else "below")) == of.relation
    for colour in set(COLOURS) - {of.first, of.second}:
        assert centre(picture, colour) is None


@given(numbers)
def test_cells_hold_the_two_balls(number: int) -> None:
    of = scene(3, number)
    assert sorted(of.cells) == sorted([EMPTY, EMPTY, of.first, of.second])
    picture = draw(of)
    for cell, colour in enumerate(of.cells):
        quarter = picture[cell // 2 * 64 :][:64, cell % 2 * 64 :][:, :64]
        assert all((centre(quarter, name) is not None) is (name == colour) for name in COLOURS)


def test_a_scene_is_the_same_wherever_it_is_drawn() -> None:
    assert scene(0, 7) == scene(0, 7) != scene(1, 7)
    assert jpeg(scene(0, 7)) == jpeg(scene(0, 7))
    assert len({scene(0, number) for number in range(200)}) == 200
    assert len(KINDS) == len(set(KINDS)) == 6 * 5 * 4 * 2


@pytest.mark.parametrize("flag", [True, False])
@given(number=numbers)
def test_answers_follow_from_the_scene(flag: bool, number: int) -> None:
    of = scene(3, number)
    asked = [caption_choice(of), vsr(of, true=flag), blink(of, swapped=flag), qualitative(of, true=flag)]
    for one in (*asked, quantitative(of)):
        assert one.answer != one.wrong
        assert not one.options or (one.options.count(one.answer) == 1 and one.wrong in one.options)
    assert len(set(caption_choice(of).options)) == 4
    assert asked[1].answer == str(flag)
    assert asked[2].answer == ("(B)" if flag else "(A)")
    assert asked[3].answer.startswith("Yes" if flag else "No")


def test_two_relations_are_told_apart_by_the_picture_alone() -> None:
    """Negative control of the reading: the opposite scene reads the opposite way."""
    one = Scene(first="red", second="blue", relation="left of", variant=0, number=5)
    other = Scene(first="red", second="blue", relation="right of", variant=0, number=5)
    for of, sign in ((one, 1), (other, -1)):
        picture = draw(of)
        first, second = centre(picture, "red"), centre(picture, "blue")
        assert first is not None
        assert second is not None
        assert sign * (second[1] - first[1]) > 0
