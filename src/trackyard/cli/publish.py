"""`trackyard publish`: a finished model as others load it, its card, and the way to a hub."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Literal

import typer

from trackyard.cli.root import repository_root
from trackyard.errors import ConfigError

app = typer.Typer(help="A finished model for others: folder, card, and the way to a hub.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="TRACK/NAME", help="such as molmo2/stage3 or datacomp/world-42")]
Parameters = Annotated[Path, typer.Option("--params", help="parameter file")]


@app.command()
def export(
    name: Name,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="folder to make")],
    layout: Annotated[
        Literal["hub"] | None, typer.Option(help="molmo2: configuration keys of published checkpoints")
    ] = None,
    form: Annotated[
        Literal["fp32", "bf16"] | None, typer.Option(help="pile_ffn: exact weights (usual) or rounded")
    ] = None,
    base: Annotated[
        Literal["copy", "reference"] | None, typer.Option(help="datacomp: base models copied (usual) or only named")
    ] = None,
    parameters: Parameters = Path("params.yaml"),
) -> None:
    """Write a folder that stock libraries load, with card, licences, lineage and digests."""
    from trackyard.recipes.publishing.exporting import export as write
    from trackyard.recipes.publishing.names import Choices, publication_of

    root = repository_root()
    publication = publication_of(name, root, root / parameters, Choices(layout=layout, form=form, base=base))
    print(f"{out}: {write(publication, out)} files of {name}; its card is {out / 'README.md'}")
    push_it = shlex.join(["trackyard", "publish", "push", str(out), "--repo", "owner/name"])
    print(f"{push_it}   shows what would be uploaded, and sends nothing")


@app.command()
def card(
    name: Name,
    out: Annotated[Path | None, typer.Option(help="file to write; printed without it")] = None,
    parameters: Parameters = Path("params.yaml"),
) -> None:
    """The model card, from the record alone."""
    from trackyard.durable import write_atomic
    from trackyard.recipes.publishing.exporting import card_of
    from trackyard.recipes.publishing.names import Choices, publication_of

    if out is not None and out.exists():
        raise ConfigError(
            what=f"{out} exists",
            why="it may be another page than a card, and would be written over",
            fix=f"name a file that is not there: trackyard publish card {name} --out FILE",
        )
    root = repository_root()
    text = card_of(publication_of(name, root, root / parameters, Choices()))
    if out is None:
        print(text, end="")
        return
    write_atomic(out, text)
    print(f"{out}: the card of {name}")


@app.command()
def push(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="what `trackyard publish export` wrote")],
    repo: Annotated[str, typer.Option(help="owner/name")],
    endpoint: Annotated[str | None, typer.Option(help="address of the hub, instead of HF_ENDPOINT")] = None,
    public: Annotated[bool, typer.Option("--public", help="everybody may read it; private without")] = False,
    really: Annotated[bool, typer.Option("--really", help="upload what the last dry run has shown")] = False,
) -> None:
    """Show what would be uploaded; with --really upload it, continuing wherever an earlier push was cut off."""
    from trackyard.recipes.publishing.pushing import push_folder

    push_folder(folder, repo, repository_root(), _say, endpoint=endpoint, public=public, really=really)


def _say(line: str) -> None:
    print(line, flush=True)
