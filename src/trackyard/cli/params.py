"""`trackyard params`: every parameter that is allowed, with its default and range."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from trackyard.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from trackyard.parameters import Parameters


def params(
    track: Annotated[str, typer.Argument(help="molmo2, pile_ffn, datacomp or nine")] = "molmo2",
    profile: Annotated[str | None, typer.Option(help="name or path; none: params.yaml")] = None,
    base: Annotated[str | None, typer.Option(help="value set instead of the profile's own: seed or report")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="the JSON schema")] = False,
) -> None:
    """Print the parameters of a track that are in force, or those of a profile, whole, as a parameter file."""
    from trackyard.cli.root import repository_root
    from trackyard.recipes.datacomp.parameters import DatacompParameters, load_datacomp
    from trackyard.recipes.molmo2.parameters import Molmo2Parameters, load_molmo2
    from trackyard.recipes.nine.parameters import NineParameters, load_nine
    from trackyard.recipes.pile_ffn.parameters import PileFfnParameters, load_pile_ffn

    tracks: dict[str, tuple[type[Parameters], Callable[..., Parameters]]] = {
        "molmo2": (Molmo2Parameters, load_molmo2),
        "pile_ffn": (PileFfnParameters, load_pile_ffn),
        "datacomp": (DatacompParameters, load_datacomp),
        "nine": (NineParameters, load_nine),
    }
    if track not in tracks:
        raise ConfigError(
            what=f"no parameters of track {track!r}",
            why=f"there are those of {', '.join(tracks)}",
            fix="trackyard params molmo2",
        )
    group, load = tracks[track]
    if as_json:
        print(json.dumps(group.model_json_schema(), indent=2))
        return
    import yaml

    from trackyard.recipes.stages import profile_path

    loaded = load(profile_path(repository_root(), profile), base=base)
    print(yaml.safe_dump({track: loaded.model_dump(mode="json")}, sort_keys=False).rstrip())
