"""`trackyard params`: every parameter that is allowed, with its default and range."""

from __future__ import annotations

import json
from typing import Annotated

import typer


def params(
    profile: Annotated[str | None, typer.Option(help="name or path; none: params.yaml")] = None,
    base: Annotated[str | None, typer.Option(help="value set instead of the profile's own: seed or report")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="the JSON schema")] = False,
) -> None:
    """Print the parameters of the Molmo2 track that are in force, or those of a profile, whole, as a parameter file."""
    from trackyard.cli.root import repository_root
    from trackyard.recipes.molmo2.parameters import Molmo2Parameters, load_molmo2

    if as_json:
        print(json.dumps(Molmo2Parameters.model_json_schema(), indent=2))
        return
    import yaml

    from trackyard.recipes.stages import profile_path

    loaded = load_molmo2(profile_path(repository_root(), profile), base=base)
    print(yaml.safe_dump({"molmo2": loaded.model_dump(mode="json")}, sort_keys=False).rstrip())
