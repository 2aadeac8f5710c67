"""Steps are drawn from the seed alone, within what the parameters allow."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.recipes.nine.made.small import parameters, rows
from trackyard.errors import DataError
from trackyard.feed.tree import PADDING_EXAMPLE
from trackyard.recipes.nine.made.model import made_tokens
from trackyard.recipes.nine.made.rows import Lessons

MADE = parameters(steps=200)
TOKENS = made_tokens(rows(), MADE)
LESSONS = Lessons(rows(), TOKENS, MADE)


@given(step=st.integers(0, 10_000))
@settings(max_examples=50, deadline=None)
def test_a_step_depends_on_its_number_and_the_seed(step: int) -> None:
    lesson = LESSONS.lesson(step)
    assert lesson == Lessons(rows(), TOKENS, MADE).lesson(step)
    assert lesson.crops in MADE.crops
    assert lesson.routes in MADE.routes
    assert MADE.layers - len(lesson.blocks) in MADE.skipped
    assert list(lesson.blocks) == sorted(set(lesson.blocks))
    assert {0, MADE.layers - 1} <= set(lesson.blocks)
    assert len(lesson.rows) == MADE.rows_per_step


def test_everything_is_drawn_and_another_seed_draws_otherwise() -> None:
    drawn = [LESSONS.lesson(step) for step in range(MADE.steps)]
    early = round(MADE.early * MADE.steps)
    assert {lesson.crops for lesson in drawn[:early]} == {min(MADE.crops)}
    assert {lesson.crops for lesson in drawn[early:]} == set(MADE.crops)
    assert {lesson.routes for lesson in drawn} == set(MADE.routes)
    assert {block for lesson in drawn for block in set(range(MADE.layers)) - set(lesson.blocks)} == {1, 2}
    assert {row for lesson in drawn for row in lesson.rows} == set(range(len(rows())))
    other = Lessons(rows(), TOKENS, parameters(seed=1))
    assert [other.lesson(step).rows for step in range(5)] != [lesson.rows for lesson in drawn[:5]]


def test_styles_are_drawn_as_often_as_their_share() -> None:
    """Half of the rows, drawn three times as often: three of four."""
    styles = Counter(rows()[row].task for step in range(MADE.steps) for row in LESSONS.lesson(step).rows)
    assert styles["vqa2"] / styles.total() == pytest.approx(0.75, abs=0.06)


def test_a_batch_holds_its_rows_one_in_each_sequence() -> None:
    late = next(lesson for lesson in map(LESSONS.lesson, range(100, 200)) if lesson.crops == max(MADE.crops))
    batch = LESSONS.batch(late)
    assert len(batch.input_ids) == MADE.rows_per_step
    for examples in batch.examples:
        assert set(np.unique(examples)) <= {0, PADDING_EXAMPLE}
    assert (batch.weights.sum(axis=1) > 0).all()
    assert batch.input_ids.shape[1] <= MADE.max_positions


def test_no_rows_are_refused() -> None:
    with pytest.raises(DataError, match="no training rows"):
        Lessons([], TOKENS, MADE)
