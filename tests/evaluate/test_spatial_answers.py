"""Answers to spatial questions: what they affirm, which region, how far, which hour; two things at once are nothing."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackyard.evaluate.spatial_answers import (
    OPPOSITES,
    chosen_region,
    circular_difference,
    clock_degrees,
    metres,
    polarity,
    relative_error,
)


@pytest.mark.parametrize(
    ("relation", "answer", "affirms"),
    [
        ("left", "Yes, it is on the left.", True),
        ("left", "Indeed, Region [0] is to the left of Region [1].", True),
        ("short", "Correct, Region [0] is not as tall as Region [1].", True),
        ("behind", "That is True.", True),
        ("behind", "That is False.", False),
        ("behind", "No, Region [1] is in front of Region [0].", False),
        ("left", "No, the red ball is right of the blue ball.", False),
        ("short", "Incorrect, its height does not fall short of the other's.", False),
        ("left", "In fact, Region [0] is to the right of Region [1].", False),
        ("above", "Actually, Region [0] is below Region [1].", False),
        ("wide", "In fact, Region [0] might be narrower than Region [1].", False),
        ("tall", "Region [0] is taller than Region [1].", True),
        ("tall", "Region [0] is not taller than Region [1].", False),
        ("left", "That is not correct.", False),
        ("left", "yes", True),
        ("left", "", None),
        ("left", "Yes and no, who knows.", None),
        ("left", "It is hard to say.", None),
        ("left", "It is neither left nor right.", None),
        ("tall", "Both are the same.", None),
    ],
)
def test_polarity(relation: str, answer: str, affirms: bool | None) -> None:
    assert polarity(answer, relation) is affirms


@pytest.mark.parametrize("relation", OPPOSITES)
def test_the_opposite_of_a_yes_is_a_no_and_nothing_is_neither(relation: str) -> None:
    assert OPPOSITES[OPPOSITES[relation]] == relation
    for affirmed, denied in (("Yes, it is.", "No, it is not."), ("True", "False")):
        assert polarity(affirmed, relation) is True
        assert polarity(denied, relation) is False
    assert polarity("", relation) is None


@pytest.mark.parametrize(
    ("answer", "region"),
    [
        ("Region [1]", 1),
        ("Region [1] is taller.", 1),
        ("Standing taller between the two is Region [0].", 0),
        ("Region [1] is taller than Region [0].", 1),
        ("Region [1] is shorter than Region [0].", 0),
        ("region 0", 0),
        ("Region [0] or Region [1]", None),
        ("Region [0] is not taller than Region [1].", None),
        ("Region [1] is shorter.", None),
        ("Neither is.", None),
        ("", None),
    ],
)
def test_chosen_region(answer: str, region: int | None) -> None:
    assert chosen_region(answer, "tall") == region


@pytest.mark.parametrize(
    ("answer", "length"),
    [
        ("2 metres", 2.0),
        ("They are 15.33 meters apart horizontally.", 15.33),
        ("6.91 feet", 6.91 * 0.3048),
        ("Region [0] is 38.95 inches wide.", 38.95 * 0.0254),
        ("about 120cm", 1.2),
        ("5 feet 6 inches", 66 * 0.0254),
        ("5'6\"", 66 * 0.0254),
        ("1 m 20 cm", 1.2),
        ("1,200 mm", 1.2),
        ("0.5 km", 500.0),
        (".5 m", 0.5),
        ("2 metres (6.56 feet)", 2.0),
        ("2", None),
        ("2 metres or 3 metres", None),
        ("2-3 metres", None),
        ("2 to 3 m", None),
        ("10 miles", None),
        ("Region [1]", None),
        ("Region 1 in front is 2 m tall.", 2.0),
        ("", None),
    ],
)
def test_metres(answer: str, length: float | None) -> None:
    assert metres(answer) == (None if length is None else pytest.approx(length))


@given(
    value=st.integers(1, 10**6).map(lambda n: n / 1000),
    unit=st.sampled_from([("m", 1), ("cm", 0.01), ("feet", 0.3048)]),
)
def test_every_length_is_read_in_every_sentence(value: float, unit: tuple[str, float]) -> None:
    for sentence in ("{}", "It is {} tall.", "A distance of {} exists between Region [0] and Region [1]."):
        assert metres(sentence.format(f"{value} {unit[0]}")) == pytest.approx(value * unit[1])


def test_relative_error() -> None:
    assert relative_error(1.25, 1.0) == 0.25
    assert relative_error(0.75, 1.0) == 0.25
    assert relative_error(0.0, 0.0) == 0.0
    assert math.isinf(relative_error(1.0, 0.0))


@pytest.mark.parametrize(
    ("answer", "degrees"),
    [
        ("Region [1] is roughly at 3 o'clock from Region [0].", 90.0),
        ("12 o'clock", 0.0),
        ("around the 10 o’clock direction", 300.0),
        ("10:30 o'clock", 315.0),
        ("at 3 o'clock or 9 o'clock", None),
        ("13 o'clock", None),
        ("at 3", None),
        ("", None),
    ],
)
def test_clock_degrees(answer: str, degrees: float | None) -> None:
    assert clock_degrees(answer) == degrees


@given(st.floats(0, 360), st.floats(0, 360))
def test_a_circular_difference_has_no_seam(first: float, second: float) -> None:
    found = circular_difference(first, second)
    assert 0 <= found <= 180
    assert found == pytest.approx(circular_difference(second, first))
    assert circular_difference(first, first) == 0
    assert circular_difference(350, 10) == 20


@given(st.text(max_size=80), st.sampled_from(sorted(OPPOSITES)))
def test_any_text_is_read_without_an_error(answer: str, relation: str) -> None:
    polarity(answer, relation)
    chosen_region(answer, relation)
    found = metres(answer)
    assert found is None or found >= 0
    degrees = clock_degrees(answer)
    assert degrees is None or 0 <= degrees < 360
