"""Catalogue entries: one dataset each, read from `catalog/*.yaml` and checked when read."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from trackyard.errors import ConfigError
from trackyard.parameters import Parameters, parse_parameters, read_yaml


class Entry(Parameters):
    """What exists under a name, and on what terms."""

    name: str
    title: str
    group: str
    """Group of the mixture, such as `sft:image_qa`; metrics are summed by it."""
    media: Literal["image", "multi-image", "video", "text"]
    licence: str
    first_stage: Literal[1, 2]
    """First Molmo2 stage that trains on it; later stages include it."""


class _Family(Parameters):
    datasets: tuple[Entry, ...]


def load_catalogue(directory: Path) -> dict[str, Entry]:
    """Every entry of every file, by name. ConfigError on an invalid file, a repeated name or an empty catalogue."""
    entries: dict[str, Entry] = {}
    for path in sorted(directory.glob("*.yaml")):
        for entry in parse_parameters(_Family, read_yaml(path), where=str(path)).datasets:
            if entry.name in entries:
                raise ConfigError(
                    what=f"{path} names {entry.name!r} a second time",
                    why="a dataset has one entry",
                    fix=f"rename or remove one of the two in {directory}",
                )
            entries[entry.name] = entry
    if not entries:
        raise ConfigError(
            what=f"no catalogue entry in {directory}",
            why="nothing is known about any dataset",
            fix="run the command in the repository root, or `git checkout -- catalog`",
        )
    return entries
