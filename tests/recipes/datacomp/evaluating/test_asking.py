"""Asking: batches change nothing, arms differ in what their branch is given, and nothing is left out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.recipes.datacomp.evaluating.asked import NoiseLatents, asker, items_of, records
from trackyard.errors import ConfigError
from trackyard.feed.world_prompts import TooLong
from trackyard.models.theworld.parameters import WorldParameters
from trackyard.recipes.datacomp.evaluating import asking
from trackyard.recipes.datacomp.evaluating.items import Item
from trackyard.recipes.datacomp.evaluating.latent_source import PictureLatents
from trackyard.recipes.datacomp.evaluating.scoring import Record, predictions_digest
from trackyard.recipes.datacomp.evaluating.sets import SETS


def several(count: int) -> list[Item]:
    """Questions about one, two and three pictures."""
    items = items_of("blink", count)
    for number, item in enumerate(items):
        shown = tuple(items[(number + step) % count].images[0] for step in range(1 + number % 3))
        items[number] = replace(item, images=shown)
    return items


def close(first: list[Record], second: list[Record]) -> None:
    assert [record.pred for record in first] == [record.pred for record in second]
    assert [record.text for record in first] == [record.text for record in second]
    for one, other in zip(first, second, strict=True):
        assert list(one.loglik.values()) == pytest.approx(list(other.loglik.values()), abs=1e-4)


@pytest.mark.parametrize("name", SETS)
def test_batches_of_one_and_of_eight_give_the_same(name: str) -> None:
    items = several(11) if name == "blink" else items_of(name, 11)
    close(records(SETS[name], asker(batch=1), items), records(SETS[name], asker(batch=8), items))


def test_asked_twice_is_the_same_to_the_bit_and_another_model_is_not() -> None:
    items = items_of("blink", 10)
    first = predictions_digest(records(SETS["blink"], asker(), items))
    assert first == predictions_digest(records(SETS["blink"], asker(), items))
    assert first != predictions_digest(records(SETS["blink"], asker(WorldParameters(mode="channel")), items))


def test_arms_differ_in_what_the_branch_is_given() -> None:
    items = items_of("captions", 8)
    digests = {
        branch: predictions_digest(records(SETS["captions"], asker(branch=branch), items))
        for branch in ("on", "zeros", "shuffled")
    } | {
        "off": predictions_digest(records(SETS["captions"], asker(None), items)),
        "free": predictions_digest(records(SETS["captions"], asker(soft_prompt=True), items)),
    }
    assert len(set(digests.values())) == len(digests)


def test_the_branch_off_is_the_base_model_whatever_was_trained() -> None:
    """Row 19: `no_world_tokens` and `base_gemma` are the same to the last bit."""
    items, base = items_of("blink", 8), asker(None)
    trained = asker()
    trained.model.world.gamma.data.mul_(3.0)  # type: ignore[union-attr]
    off = asker(None)
    assert off.model.world is None
    assert predictions_digest(records(SETS["blink"], base, items)) == predictions_digest(
        records(SETS["blink"], off, items)
    )
    assert predictions_digest(records(SETS["blink"], trained, items)) != predictions_digest(
        records(SETS["blink"], off, items)
    )


def test_options_are_compared_as_training_writes_them() -> None:
    """A whole caption with the end of its turn, a letter without it: each by hand through the stock builder."""
    asked = asker(None)
    ids = asked._option("a red ball", ends=True)
    assert ids[-1] == asked.tokenizer.convert_tokens_to_ids("<end_of_turn>")
    assert asked._option("a red ball", ends=False) == ids[:-1]
    assert asked.tokenizer.decode(ids[:-1]) == "a red ball"


def test_pictures_are_squashed_into_the_range_that_gemma_wants() -> None:
    sample = asker().samples(several(3))[2]
    assert sample.pixels.shape == (3, 3, 32, 32)
    assert sample.pixels.dtype == np.float32
    assert -1 <= sample.pixels.min() < -0.5
    assert 0.5 < sample.pixels.max() <= 1


def test_a_missing_latent_or_picture_is_refused() -> None:
    items, asked = items_of("blink", 4), asker()
    asked.latents = None
    with pytest.raises(ConfigError, match="no latents for"):
        records(SETS["blink"], asked, items)

    class Fewer(NoiseLatents):
        def many(self, images: Any) -> Any:
            return super().many(images)[:0]

    asked.latents = PictureLatents(Fewer(), "on", [])
    with pytest.raises(ConfigError, match="0 latents"):
        records(SETS["blink"], asked, items)


def test_a_missing_image_argument_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "_pixels", lambda item, size: None)
    with pytest.raises(ConfigError, match="0 images for a prompt about 1"):
        records(SETS["blink"], asker(), items_of("blink", 2))


def test_an_item_that_is_too_long_stops() -> None:
    items = items_of("blink", 3)
    items[2] = replace(items[2], question="where? " * 2000)
    with pytest.raises(TooLong):
        records(SETS["blink"], asker(), items)


def test_an_error_in_one_item_is_not_swallowed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing import inside a broad `except` once looked like images that could not be read."""
    good, asked = asking._pixels, []

    def broken(item: Item, size: int) -> Any:
        asked.append(item.id)
        if len(asked) == 3:
            raise NameError("np")
        return good(item, size)

    monkeypatch.setattr(asking, "_pixels", broken)
    with pytest.raises(NameError):
        records(SETS["blink"], asker(), items_of("blink", 6))
