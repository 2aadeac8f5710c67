"""`trackyard run TRACK STAGE`: what every stage of a dvc.yaml calls."""

from __future__ import annotations

import os
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from trackyard.cli.following import following
from trackyard.cli.root import repository_root
from trackyard.cli.run_asked import PARAMETERS, require_runnable
from trackyard.cli.table import print_stage
from trackyard.errors import ConfigError, TrackyardError
from trackyard.imports import import_heavy


def run(
    track: Annotated[str, typer.Argument(help="molmo2, pile_ffn, datacomp or nine; all for what is about all of them")],
    stage: Annotated[str, typer.Argument(help="stage1 to stage3; a stage of pipelines/TRACK/dvc.yaml; compare of all")],
    item: Annotated[str | None, typer.Argument(help="cell or arm, for stages that are about one")] = None,
    parameters: Annotated[Path, typer.Option("--params", help="parameter file")] = PARAMETERS,
    processes: Annotated[int | None, typer.Option(min=1, help="processes, instead of the parameter")] = None,
    shard: Annotated[str | None, typer.Option(help="K/N: one of N parts of a stage that can be divided")] = None,
) -> None:
    """Run a stage to its end, continuing wherever an earlier attempt was cut off."""
    root = repository_root()
    part = _part(track, stage, item, shard)
    options = [
        *(["--params", str(parameters)] if parameters != PARAMETERS else []),
        *(["--processes", str(processes)] if processes is not None else []),
        *(["--shard", shard] if shard is not None else []),
    ]
    require_runnable(root, track, stage, part, parameters, processes)
    _elsewhere(root, track, stage, item, options)
    item = part
    # Threads that wait by spinning starve each other tenfold where the cores are shared; read when torch is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if track == "molmo2":
        _run_molmo2(root, stage, parameters, processes)
    elif track == "pile_ffn":
        _run_pile_ffn(root, stage, item, parameters, processes)
    elif track == "datacomp":
        _run_datacomp(root, stage, item, parameters, processes)
    elif track == "nine":
        _run_nine(root, stage, item, parameters)
    else:
        _run_all(root)


def _elsewhere(root: Path, track: str, stage: str, item: str | None, options: list[str]) -> None:
    """End with the stage's exit code where the site runs it somewhere else than in this process."""
    from trackyard.launch.executor import run_elsewhere
    from trackyard.runner import SystemRunner

    exit_code = run_elsewhere(
        root, track, stage, item, options, environment=os.environ, runner=SystemRunner(), say=_say
    )
    if exit_code is not None:
        raise typer.Exit(exit_code)


DIVIDED = {
    "datacomp": ("download", "latents", "eval_latents"),
    "pile_ffn": ("tokenize",),
    "nine": ("accuracy", "latency"),
}
"""Stages that several machines may share: `divided: true` in the dvc.yaml of the track."""


def _part(track: str, stage: str, item: str | None, shard: str | None) -> str | None:
    """The item that the stage is called with: its own, or the part. ConfigError where the stage has no parts."""
    divided = stage in DIVIDED.get(track, ())
    if shard is not None and (item is not None or not divided):
        raise ConfigError(
            what=f"--shard {shard} with {track} {stage}" + (f" {item}" if item else ""),
            why="the stages that can be divided are "
            + "; ".join(f"{name} {', '.join(of)}" for name, of in DIVIDED.items()),
            fix=f"trackyard run {track} {stage}" + (f" {item}" if item else ""),
        )
    if divided and item is not None:
        raise ConfigError(
            what=f"{item!r} behind {track} {stage}",
            why="this stage is about no single cell or arm; a part of it is an option",
            fix=f"trackyard run {track} {stage} --shard 0/4, or without it for everything",
        )
    return item if shard is None else shard


def _run_molmo2(root: Path, stage: str, parameters: Path, processes: int | None) -> None:
    from trackyard.recipes.molmo2.parameters import load_molmo2

    _require_deliverable(root)
    import_heavy("trackyard.recipes.molmo2.stage")
    from trackyard.recipes.molmo2.stage import run_stage

    loaded = load_molmo2(root / parameters)
    if processes is not None:
        loaded = loaded.model_copy(update={"processes": processes})
    with following(root):
        done = run_stage(loaded, stage, root, parameter_file=root / parameters, say=_say)  # type: ignore[arg-type]
    if not done:
        return  # a rank that only helped rank 0 of its launcher
    _deliver(root)
    print_stage(root, stage)


def _run_pile_ffn(root: Path, stage: str, item: str | None, parameters: Path, processes: int | None) -> None:
    from trackyard.recipes.pile_ffn.parameters import load_pile_ffn
    from trackyard.recipes.pile_ffn.stages import STAGES as PILE_FFN
    from trackyard.recipes.pile_ffn.stages import run_stage
    from trackyard.recipes.pile_ffn.study import Study

    loaded = load_pile_ffn(root / parameters)
    if processes is not None:
        loaded = loaded.model_copy(update={"processes": processes})
    records = PILE_FFN[stage].trains
    if records:
        _require_deliverable(root)
    with following(root) if records else nullcontext():
        run_stage(Study(root=root, parameters=loaded), stage, item, parameter_file=root / parameters, say=_say)
    # Every start of MLflow takes seconds, and the study has dozens of stages: all runs are delivered with the table.
    if stage == "aggregate":
        _deliver(root)


def _run_datacomp(root: Path, stage: str, item: str | None, parameters: Path, processes: int | None) -> None:
    from trackyard.recipes.datacomp.parameters import load_datacomp
    from trackyard.recipes.datacomp.stages import STAGES as DATACOMP
    from trackyard.recipes.datacomp.stages import run_stage
    from trackyard.recipes.datacomp.study import Study

    loaded = load_datacomp(root / parameters)
    if processes is not None:
        loaded = loaded.model_copy(update={"processes": processes})
    study = Study(root=root, parameters=loaded)
    records = DATACOMP[stage].trains
    if records:
        _require_deliverable(root)
    with following(root) if records else nullcontext():
        run_stage(study, stage, item, parameter_file=root / parameters, say=_say)
    if stage == "compare":
        _deliver(root)


def _run_nine(root: Path, stage: str, item: str | None, parameters: Path) -> None:
    from trackyard.cli.stopping import resumable
    from trackyard.recipes.nine.parameters import load_nine
    from trackyard.recipes.nine.stages import STAGES as NINE
    from trackyard.recipes.nine.stages import run_stage
    from trackyard.recipes.nine.study import Study

    # What several machines divide is appended line by line: it may be cut anywhere, and goes on.
    with resumable() if NINE[stage].divided else nullcontext():
        run_stage(Study(root=root, parameters=load_nine(root / parameters)), stage, item, say=_say)
    if stage == "compare":
        _deliver(root)


def _run_all(root: Path) -> None:
    from trackyard.recipes.overview.writing import write_report

    _deliver(root)
    write_report(root, say=_say)


def _require_deliverable(root: Path) -> None:
    """A tracking URI of a kind that nothing can be delivered to is refused now, not when the training is over."""
    from trackyard.record.tracking.server import database, tracking_uri

    database(tracking_uri(root))


def _deliver(root: Path) -> None:
    """What cannot be delivered now stays in the spool, with a warning: the stage itself is done."""
    from trackyard.cli.record import deliver
    from trackyard.record.tracking.server import AT_STAGE_END

    try:
        deliver(root, AT_STAGE_END, lock_wait_s=5.0, only_changed=True)
    except TrackyardError as error:
        sys.stderr.write(f"warning: {type(error).__name__}\n{error}\n")


def _say(line: str) -> None:
    print(line, flush=True)
