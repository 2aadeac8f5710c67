"""The table of modes and projectors, number by number."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from pydantic import ValidationError

from trackyard.errors import ConfigError
from trackyard.models.theworld.parameters import (
    Mode,
    ProjectorKind,
    WorldParameters,
    added_tokens,
    expected_trainable,
    inserted_tokens,
    tokens_of,
    total_trainable,
)

REAL, MADE, WIDTH = (16, 64, 64), (16, 16, 16), 2560
TABLE: dict[Mode, tuple[int, int, int, int, int, int, int]] = {
    # N_w, k, projector linear and mlp, all trained linear and mlp, added tokens
    "spatial": (4096, 16, 43_520, 6_599_680, 48_641, 6_604_801, 4098),
    "channel": (16, 4096, 10_488_320, 17_044_480, 10_493_441, 17_049_601, 18),
    "pooled4": (256, 256, 657_920, 7_214_080, 663_041, 7_219_201, 258),
    "pooled8": (64, 1024, 2_624_000, 9_180_160, 2_629_121, 9_185_281, 66),
    "stats": (1, 64, 166_400, 6_722_560, 171_521, 6_727_681, 3),
}


def world(**given: Any) -> WorldParameters:
    return WorldParameters.model_validate(given)


@pytest.mark.parametrize("mode", get_args(Mode))
def test_the_table_of_the_specification(mode: Mode) -> None:
    tokens, features, linear, mlp, all_linear, all_mlp, added = TABLE[mode]
    assert tokens_of(mode, REAL) == (tokens, features)
    assert added_tokens(world(mode=mode), REAL) == added
    two = dict.fromkeys(("mlp", "mlp_gelu_out"), (mlp, all_mlp))
    for kind, (projector, everything) in {"linear": (linear, all_linear), **two}.items():
        own = world(mode=mode, projector=kind)
        found = expected_trainable(own, REAL, WIDTH)
        assert sum(count for name, count in found.items() if ".projector." in name) == projector
        assert total_trainable(own, REAL, WIDTH) == sum(found.values()) == everything


def test_added_tokens_have_no_boundaries_and_one_gate() -> None:
    for kind, total in (("linear", 657_921), ("mlp", 7_214_081)):
        own = world(mode="pooled4", fusion="add", projector=kind)
        assert total_trainable(own, REAL, WIDTH) == total
        assert added_tokens(own, REAL) == inserted_tokens(own, REAL) == 0


def test_free_vectors() -> None:
    assert total_trainable(WorldParameters(), REAL, WIDTH, soft_prompt=True) == 163_840


def test_defaults_and_the_made_size() -> None:
    assert (WorldParameters().mode, WorldParameters().projector) == ("pooled8", "mlp")
    assert tokens_of("pooled8", MADE) == (4, 1024)
    assert set(get_args(ProjectorKind)) == {"linear", "mlp", "mlp_gelu_out"}


@pytest.mark.parametrize("mode", ["pooled8", "spatial", "channel", "stats"])
def test_only_one_mode_has_the_grid_of_the_soft_tokens(mode: Mode) -> None:
    with pytest.raises(ValidationError, match="only pooled4 has the grid"):
        world(mode=mode, fusion="add")


def test_squares_that_do_not_tile_are_refused() -> None:
    with pytest.raises(ConfigError, match="pooled8 for latents of 12 x 64"):
        tokens_of("pooled8", (16, 12, 64))
