"""Keys of latents: a change of anything that decides a latent changes its key."""

from __future__ import annotations

from dataclasses import replace

import pytest

from trackyard.snapshot.latent_facts import EncoderFacts

FACTS = EncoderFacts(repo="r", revision="v", weights="w", config="c", preprocessing="p", shape=(16, 64, 64))


@pytest.mark.parametrize("name", ["repo", "revision", "weights", "config", "preprocessing", "dtype"])
def test_a_key_depends_on_every_fact_and_on_the_image(name: str) -> None:
    other = replace(FACTS, **{name: "x"})
    assert FACTS.key("1") != other.key("1") != other.key("2")
    assert FACTS.digest != other.digest
    assert FACTS.differences(other) == [f"{name}: {getattr(FACTS, name)} here, x there"]


def test_nothing_differs_from_itself() -> None:
    assert FACTS.differences(replace(FACTS)) == []
    assert replace(FACTS).key("1") == FACTS.key("1")
    # Fields are kept apart: moving a character from one to the next is another encoder.
    assert replace(FACTS, weights="wc", config="").key("1") != FACTS.key("1")
