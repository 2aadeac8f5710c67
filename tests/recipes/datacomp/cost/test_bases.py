"""The base models in numbers, and what a window hides: theworld spec sections 2 and 5."""

from __future__ import annotations

import pytest

from tests.recipes.datacomp.cost.studies import made, profile
from trackyard.models.theworld.parameters import WorldParameters
from trackyard.recipes.datacomp.cost.bases import GEMMA, PUBLISHED_SHAPE, base_of, latent_shape, visible


def test_the_published_model() -> None:
    assert GEMMA.vision + GEMMA.language == 4_300_079_472
    assert (GEMMA.global_layers, GEMMA.window, GEMMA.shape.layers) == (5, 1024, 34)
    study = profile("theworld-100k")
    assert base_of(study.gemma) == GEMMA
    assert latent_shape(study.vae) == PUBLISHED_SHAPE == (16, 64, 64)


def test_a_made_model_is_small() -> None:
    study = made()
    assert base_of(study.gemma).language < 1e6
    assert latent_shape(study.vae) == (16, 16, 16)


def test_what_the_window_hides() -> None:
    """Section 5: 963 of 4,096 tokens in 29 of 34 layers for `spatial`; all of `pooled8`."""
    spatial, pooled = (visible(GEMMA, WorldParameters(mode=mode), PUBLISHED_SHAPE) for mode in ("spatial", "pooled8"))
    assert (spatial.visible, spatial.tokens, spatial.distance, spatial.local, spatial.layers) == (
        963,
        4_096,
        61,
        29,
        34,
    )
    assert spatial.share == pytest.approx(0.235, abs=5e-4)
    assert pooled.share == 1
    early = visible(GEMMA, WorldParameters(mode="spatial", placement="before_text"), PUBLISHED_SHAPE)
    assert early.visible == spatial.visible - 256
