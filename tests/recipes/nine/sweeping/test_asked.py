"""Which questions are asked depends on their ids and the seed alone."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.recipes.nine.sweeping.made_questions import Listed, task
from trackyard.errors import ConfigError
from trackyard.recipes.nine.sweeping.asked import asked

IDS = tuple(f"made:validation:{number}" for number in range(40))


@given(st.permutations(IDS), st.integers(1, 40), st.integers(0, 3))
def test_the_draw_is_the_same_for_any_order_and_keeps_the_order_of_the_data_set(
    ids: Sequence[str], limit: int, seed: int
) -> None:
    drawn = asked(task(), Listed.of(ids), limit=limit, seed=seed).ids
    assert len(drawn) == len(set(drawn)) == limit
    assert set(drawn) == set(asked(task(), Listed.of(IDS), limit=limit, seed=seed).ids)
    assert list(drawn) == [name for name in ids if name in set(drawn)]


@given(st.integers(1, 39), st.integers(0, 9))
def test_more_questions_are_the_same_and_others(limit: int, seed: int) -> None:
    fewer, more = (asked(task(), Listed.of(IDS), limit=n, seed=seed).ids for n in (limit, limit + 1))
    assert set(fewer) < set(more)


def test_another_seed_draws_others() -> None:
    draws = {asked(task(), Listed.of(IDS), limit=10, seed=seed).ids for seed in range(5)}
    assert len(draws) == 5


def test_without_a_limit_all_are_asked() -> None:
    of = asked(task(), Listed.of(IDS), limit=None, seed=0)
    assert of.ids == IDS
    assert (of[IDS[7]].id, of.bare(IDS[9]).id) == (IDS[7], IDS[9])


def test_more_than_there_are_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"41 questions of made, which has 40") as refused:
        asked(task(), Listed.of(IDS), limit=41, seed=0)
    assert "nine.data.samples.made" in refused.value.fix


def test_the_digest_is_of_what_is_asked_and_how() -> None:
    of = asked(task(), Listed.of(IDS), limit=5, seed=0)
    same = asked(task(title="another title"), Listed.of(IDS), limit=5, seed=0)
    assert of.digest == same.digest
    others = {
        asked(task(), Listed.of(IDS), limit=6, seed=0).digest,
        asked(task(new_tokens=9), Listed.of(IDS), limit=5, seed=0).digest,
        asked(task(metric="anls"), Listed.of(IDS), limit=5, seed=0).digest,
        asked(task(), Listed.of(IDS, digest="other bytes"), limit=5, seed=0).digest,
    }
    assert len(others | {of.digest}) == 5
