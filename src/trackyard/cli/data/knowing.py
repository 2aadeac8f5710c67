"""`trackyard data list|show|instructions`: what the catalogue knows."""

from __future__ import annotations

from typing import Annotated

import typer

from trackyard.cli.printing import as_fields, print_json, size
from trackyard.cli.root import repository_root

Selection = Annotated[
    list[str] | None, typer.Argument(help="stage1, stage2, stage3, pile, datacomp, nine, all, or names")
]
AsJson = Annotated[bool, typer.Option("--json", help="one JSON document")]


def list_(selection: Selection = None, as_json: AsJson = False) -> None:
    """What exists: every entry of a selection, or of the whole catalogue."""
    from trackyard.catalog.entries import load_catalogue
    from trackyard.catalog.selection import select

    catalogue = load_catalogue(repository_root() / "catalog")
    entries = select(catalogue, selection) if selection else tuple(catalogue.values())
    if as_json:
        print_json({"schema": "trackyard-entries/1", "entries": entries})
        return
    row = "{:34} {:24} {:12} {:7} {:7} {:>10} {:>10}  {}"
    print(row.format("name", "group", "media", "access", "stages", "examples", "size", "licence"))
    for entry in entries:
        examples = entry.expected.examples.value
        print(
            row.format(
                entry.name,
                entry.group,
                entry.media,
                entry.access,
                " ".join(map(str, entry.stages)),
                "unknown" if examples is None else f"{examples:,}",
                size(entry.expected.bytes.value),
                entry.licence.name,
            )
        )
    print(f"{len(entries)} entries")


def show(name: Annotated[str, typer.Argument(help="an entry")], as_json: AsJson = False) -> None:
    """Everything the catalogue knows of one entry: where it is, what it holds, on what terms, what it needs."""
    import yaml

    from trackyard.catalog.entries import load_catalogue
    from trackyard.catalog.selection import find

    entry = find(load_catalogue(repository_root() / "catalog"), name)
    if as_json:
        print_json({"schema": "trackyard-entry/1"} | entry.model_dump(mode="json", exclude_defaults=True))
        return
    print(
        yaml.safe_dump(entry.model_dump(mode="json", exclude_defaults=True), sort_keys=False, allow_unicode=True),
        end="",
    )


def instructions(name: Annotated[str, typer.Argument(help="an entry")], as_json: AsJson = False) -> None:
    """What a person must do for an entry that no program may fetch: page, steps, expected layout."""
    from trackyard.acquire.raw.manual import instructions as of
    from trackyard.catalog.entries import load_catalogue
    from trackyard.catalog.selection import find

    found = of(find(load_catalogue(repository_root() / "catalog"), name))
    if as_json:
        print_json({"schema": "trackyard-instructions/1"} | as_fields(found))
        return
    for line in found.lines():
        print(line)
