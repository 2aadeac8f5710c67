"""The shipped parameters of the track, as tests change them."""

from pathlib import Path
from typing import Any

from trackyard.parameters import parse_parameters
from trackyard.recipes.datacomp.parameters import DatacompParameters, load_datacomp

ROOT = Path(__file__).resolve().parents[3]


def mini_parameters() -> DatacompParameters:
    return load_datacomp(ROOT / "params.yaml")


def changed(changes: dict[str, Any]) -> DatacompParameters:
    """changes: values by dotted path."""
    found = mini_parameters().model_dump(mode="json")
    for path, value in changes.items():
        *groups, name = path.split(".")
        inner = found
        for group in groups:
            inner = inner[group]
        inner[name] = value
    return parse_parameters(DatacompParameters, found, where="params.yaml: datacomp")
