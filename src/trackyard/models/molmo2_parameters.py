"""Which Molmo2 is built, and what its components are called: typed parameters that are read without torch."""

from __future__ import annotations

from typing import Literal

from trackyard.models.presets import PresetName
from trackyard.parameters import Parameters

ADDED_ROWS = 128
"""Rows of the embedding table beyond the language model's vocabulary."""

Component = Literal["vit", "connector", "llm"]
COMPONENTS: tuple[Component, ...] = ("vit", "connector", "llm")


class ModelParameters(Parameters):
    """Which Molmo2 is built when no earlier stage's export is the start."""

    preset: PresetName = "tiny"
    start: Literal["random", "assemble", "published"] = "random"
    """random weights; the preset's language model and vision tower; or the published Molmo2 of that size."""
    llm: str | None = None
    """Hub id or folder instead of the preset's language model."""
    vision: str | None = None
    """Hub id or folder instead of the preset's vision tower."""
    published: str | None = None
    """Hub id or folder instead of the preset's published Molmo2."""
    revision: str | None = None
    """40-digit commit of the published model."""
