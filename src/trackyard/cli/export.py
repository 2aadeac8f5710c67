"""`trackyard export`: an exported model in the layout that another program reads."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer


def export(
    source: Annotated[Path, typer.Argument(help="what a stage put out: artifacts/molmo2/stage3/export")],
    target: Annotated[Path, typer.Argument(help="folder to make")],
    layout: Annotated[Literal["hub"], typer.Option(help="hub: configuration keys of the published checkpoints")],
) -> None:
    """Copy an export with the configuration keys that engines such as vLLM were written against."""
    from trackyard.publish.hub_layout import write_hub_layout

    write_hub_layout(source, target)
    print(f"{target}: {source} in the {layout} layout; whether an engine loads it is tested where that engine is")
