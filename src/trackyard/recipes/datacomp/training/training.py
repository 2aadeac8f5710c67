"""The train stage: one run at one seed, from proved inputs to an export and its result.

Source: theworld spec sections 6, 10, 11 and 13.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

from trackyard.digest import digest_file
from trackyard.durable import atomic_directory, sweep, write_atomic
from trackyard.recipes.datacomp.base.loading import base_facts
from trackyard.recipes.datacomp.cells import Cell
from trackyard.recipes.datacomp.results import write_result
from trackyard.recipes.datacomp.study import Study
from trackyard.recipes.datacomp.training.job import WorldJob
from trackyard.recipes.datacomp.training.jobs import TRAIN, again, prove, world_job
from trackyard.recipes.datacomp.training.trained import COLUMNS, read_trained, work
from trackyard.recipes.running.history import history_csv
from trackyard.recipes.running.stage import Stage, run_training
from trackyard.recipes.running.training import FINAL
from trackyard.record.lineage.document import names_in, read_lineage, write_lineage
from trackyard.record.rundir import RunDirectory
from trackyard.train.parameters import accumulation

Say = Callable[[str], None]
WORKER = "trackyard.recipes.datacomp.training.worker"
HISTORY = "history.csv"
LATENT_MANIFEST = "manifest.json"


def train(study: Study, cell: Cell, say: Say, parameter_file: Path) -> None:
    """Train a run at a seed, continuing wherever an earlier attempt was cut off.

    Puts out train/<run>/<seed>/ (result.json, history.csv) and export/<run>/<seed>/. Raises StoppedEarly after a
    signal, AuditError where something does not train that should, or the reverse.
    """
    parameters = study.parameters
    stage = Stage(
        again=again(cell),
        engine=parameters.engine,
        processes=parameters.processes,
        check_world=lambda world: _check_division(study, world),
        prove=partial(prove, study, cell, say),
        prepare=partial(world_job, study, cell),
        worker=(WORKER, [str(parameter_file), cell.label]),
        work=work,
        put_out=partial(_put_out, cell),
    )
    run_training(stage, say=say)


def _check_division(study: Study, world: int) -> None:
    """ConfigError unless a step divides into micro-batches of all ranks."""
    accumulation(study.parameters.training.samples_per_step, study.parameters.engine.micro_batch, world)


def _put_out(cell: Cell, job: WorldJob, directory: RunDirectory) -> None:
    """Export and result from the run directory, which keeps the originals. The header is of now: what the parameters
    hold besides this run may have changed since."""
    study, found = job.study, read_trained(directory)
    export = study.export(cell)
    sweep(export.parent, export.name)
    if export.exists():
        shutil.rmtree(export)
    with atomic_directory(export) as partial_folder:
        shutil.copytree(directory.path / FINAL, partial_folder, dirs_exist_ok=True)
        write_lineage(partial_folder, read_lineage(directory.path), files=names_in(partial_folder))
    inputs = (study.curated, study.latents / LATENT_MANIFEST, study.document("models"))
    header = study.header(
        TRAIN,
        cell,
        run_id=job.spec.run_id,
        inputs={path.relative_to(study.root).as_posix(): digest_file(path) for path in inputs},
        device=found["device"],
        wall_s=found["wall_s"],
        vae_digest=base_facts(study).vae_digest,
    )
    place = study.place(TRAIN, cell)
    place.mkdir(parents=True, exist_ok=True)
    write_atomic(place / HISTORY, history_csv(COLUMNS, found["body"]["history"]))
    write_result(study.document(TRAIN, cell), TRAIN, header, found["body"])
