"""`trackyard run TRACK STAGE`: what every stage of dvc.yaml calls."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from trackyard.cli.root import repository_root
from trackyard.cli.table import STAGES, print_stage
from trackyard.errors import ConfigError, TrackyardError


def run(
    track: Annotated[str, typer.Argument(help="molmo2")],
    stage: Annotated[str, typer.Argument(help="stage1, stage2 or stage3")],
    parameters: Annotated[Path, typer.Option("--params", help="parameter file")] = Path("params.yaml"),
    processes: Annotated[int | None, typer.Option(min=1, help="processes, instead of the parameter")] = None,
) -> None:
    """Run a stage to its end, continuing wherever an earlier attempt was cut off."""
    root = repository_root()
    if track != "molmo2" or stage not in STAGES:
        raise ConfigError(
            what=f"no stage {stage!r} of track {track!r}",
            why=f"the track molmo2 has {', '.join(STAGES)}",
            fix="trackyard run molmo2 stage1",
        )
    # Threads that wait by spinning starve each other tenfold where the cores are shared; read when torch is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from trackyard.record.tracking import database, tracking_uri

    # A tracking URI of a kind that nothing can be delivered to is refused now, not when the training is over.
    database(tracking_uri(root))
    from trackyard.cli.record import deliver
    from trackyard.recipes.molmo2.parameters import load_molmo2
    from trackyard.recipes.molmo2.stage import run_stage

    loaded = load_molmo2(root / parameters)
    if processes is not None:
        loaded = loaded.model_copy(update={"processes": processes})

    def say(line: str) -> None:
        print(line, flush=True)

    if not run_stage(loaded, stage, root, parameter_file=root / parameters, say=say):  # type: ignore[arg-type]
        return  # a rank that only helped rank 0 of its launcher
    # What cannot be delivered now stays in the spool, with a warning: the stage itself is done.
    try:
        deliver(root)
    except TrackyardError as error:
        sys.stderr.write(f"warning: {type(error).__name__}\n{error}\n")
    print_stage(root, stage)
