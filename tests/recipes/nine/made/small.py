"""A made model that is small enough for tests, and a few rows for it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from trackyard.acquire.mini.datasets import MINI
from trackyard.feed.geometry import VisionGeometry
from trackyard.recipes.nine.made.parameters import MadeModelParameters
from trackyard.row import Row

GEOMETRY = VisionGeometry(crop_size=32, patch_size=8, margin=(1, 1), max_crops=4)


def parameters(**changed: object) -> MadeModelParameters:
    body: dict[str, object] = {
        "layers": 4,
        "hidden": 32,
        "heads": 2,
        "kv_heads": 1,
        "experts": 4,
        "per_token": 3,
        "expert_width": 8,
        "vit_hidden": 16,
        "vit_heads": 1,
        "vit_ffn": 32,
        "vocabulary": 384,
        "max_positions": 384,
        "geometry": GEOMETRY,
        "crops": (1, 4),
        "early": 0.5,
        "shares": {"vqa2": 3.0},
        "routes": (2, 3),
        "skipped": (0, 1, 2),
        "steps": 20,
        "rows_per_step": 3,
        "learning_rate": 1e-2,
    }
    return MadeModelParameters.model_validate(body | changed)


@lru_cache(maxsize=1)
def rows() -> Sequence[Row]:
    """Of three styles; half of them vqa2."""
    names = ("vqa-v2", "tallyqa", "vqa-v2", "a-okvqa")
    return tuple(MINI[name].row("train", index) for index in range(6) for name in names)
