"""`trackyard params`: every parameter that is allowed, with its default and range."""

from __future__ import annotations

import json
from typing import Annotated

import typer


def params(
    as_json: Annotated[bool, typer.Option("--json", help="the JSON schema")] = False,
) -> None:
    """Print the parameters of the Molmo2 track and what is in force."""
    from trackyard.cli.root import repository_root
    from trackyard.recipes.molmo2.parameters import Molmo2Parameters, load_molmo2

    if as_json:
        print(json.dumps(Molmo2Parameters.model_json_schema(), indent=2))
        return
    import yaml

    loaded = load_molmo2(repository_root() / "params.yaml")
    print(yaml.safe_dump({"molmo2": loaded.model_dump(mode="json")}, sort_keys=False).rstrip())
