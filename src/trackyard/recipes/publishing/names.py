"""TRACK/NAME of everything that can be published, and the publication of one of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from trackyard.errors import ConfigError
from trackyard.recipes.publishing.publication import Publication


@dataclass(frozen=True, kw_only=True, slots=True)
class Choices:
    """What a person chose; None for the usual. Each is of one track: molmo2, pile_ffn, datacomp."""

    layout: Literal["hub"] | None = None
    form: Literal["fp32", "bf16"] | None = None
    base: Literal["copy", "reference"] | None = None


_OF_TRACK = {"molmo2": "layout", "pile_ffn": "form", "datacomp": "base"}


def publication_of(name: str, root: Path, parameter_file: Path, choices: Choices) -> Publication:
    """ConfigError, with the list, for a name of nothing; and for a choice that another track has."""
    track, _, rest = name.partition("/")
    if track not in _OF_TRACK:
        raise _unknown(name, [f"{one}/NAME" for one in _OF_TRACK])
    for other, choice in _OF_TRACK.items():
        if other != track and getattr(choices, choice) is not None:
            raise ConfigError(
                what=f"--{choice} {getattr(choices, choice)} with {name}",
                why=f"it is a choice of the track {other}",
                fix=f"leave --{choice} out",
            )
    if track == "molmo2":
        from trackyard.recipes.publishing import molmo2

        _require(name, molmo2.names())
        return molmo2.publication(root, rest, choices.layout)
    if track == "pile_ffn":
        from trackyard.recipes.pile_ffn.parameters import load_pile_ffn
        from trackyard.recipes.publishing import pile_ffn

        study = load_pile_ffn(parameter_file)
        _require(name, pile_ffn.names(study))
        return pile_ffn.publication(root, study, rest, choices.form or "fp32")
    from trackyard.recipes.datacomp.parameters import load_datacomp
    from trackyard.recipes.publishing import datacomp

    parameters = load_datacomp(parameter_file)
    _require(name, datacomp.names(parameters))
    return datacomp.publication(root, parameters, rest, choices.base or "copy")


def _require(name: str, known: list[str]) -> None:
    if name not in known:
        raise _unknown(name, known)


def _unknown(name: str, known: list[str]) -> ConfigError:
    return ConfigError(
        what=f"{name!r} is nothing that can be published",
        why=f"there are {', '.join(known)}",
        fix=f"trackyard publish export {known[-1]} OUT",
    )
