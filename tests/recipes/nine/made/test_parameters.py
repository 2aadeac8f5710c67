"""Widths and knobs of the small model that contradict each other are refused before anything is trained."""

from __future__ import annotations

import pytest

from trackyard.errors import ConfigError
from trackyard.parameters import parse_parameters
from trackyard.recipes.nine.made.parameters import MadeModelParameters


def test_what_ships_is_consistent() -> None:
    made = MadeModelParameters()
    assert max(made.crops) == made.geometry.max_crops
    assert made.per_token in made.routes
    assert 0 in made.skipped, "the whole model is never trained"


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"hidden": 62}, "hidden=62"),
        ({"vit_hidden": 60}, "vit_hidden=60"),
        ({"kv_heads": 3}, "kv_heads=3"),
        ({"per_token": 13}, "per_token=13"),
        ({"routes": [0]}, "routes"),
        ({"skipped": [7]}, "skipped"),
        ({"crops": [7]}, "crops"),
        ({"shares": {"vqa2": 0}}, "shares"),
        ({"step": 3}, "step"),
    ],
)
def test_contradictions_are_named(changed: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_parameters(MadeModelParameters, changed, where="nine.model.made")
