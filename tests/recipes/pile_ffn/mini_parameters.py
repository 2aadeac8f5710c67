"""The shipped parameters of the track."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from trackyard.recipes.pile_ffn.parameters import PileFfnParameters, load_pile_ffn

ROOT = Path(__file__).parents[3]


@cache
def mini_parameters() -> PileFfnParameters:
    return load_pile_ffn(ROOT / "params.yaml")
