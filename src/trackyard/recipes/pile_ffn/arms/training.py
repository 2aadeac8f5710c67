"""The train stage: one arm at one seed, from proved inputs to a verified export and its result.

Source: pile-ffn spec sections 4, 6 and 10.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from trackyard.durable import write_atomic
from trackyard.models.nonneg_export import EXACT
from trackyard.recipes.pile_ffn.arms.exporting import put_out
from trackyard.recipes.pile_ffn.arms.job import WindowJob
from trackyard.recipes.pile_ffn.arms.jobs import TRAIN, again, arm_job
from trackyard.recipes.pile_ffn.arms.original import CELL, require_original
from trackyard.recipes.pile_ffn.arms.trained import COLUMNS, read_trained, work
from trackyard.recipes.pile_ffn.arms.validating import VAL
from trackyard.recipes.pile_ffn.cells import Cell
from trackyard.recipes.pile_ffn.cost.room import require_room, visible_device
from trackyard.recipes.pile_ffn.cost.sizes import size_of
from trackyard.recipes.pile_ffn.measures.exports import export_inputs
from trackyard.recipes.pile_ffn.results import write_result
from trackyard.recipes.pile_ffn.study import Study
from trackyard.recipes.pile_ffn.text.token_sets import open_set, slice_digest
from trackyard.recipes.running.history import history_csv
from trackyard.recipes.running.stage import Stage, run_training
from trackyard.recipes.running.training import FINAL
from trackyard.record.lineage.document import read_lineage
from trackyard.record.rundir import RunDirectory
from trackyard.train.parameters import accumulation

Say = Callable[[str], None]
WORKER = "trackyard.recipes.pile_ffn.arms.worker"
HISTORY = "history.csv"


def train(study: Study, cell: Cell, say: Say, parameter_file: Path) -> None:
    """Train a cell, continuing wherever an earlier attempt was cut off.

    Puts out train/<cell>/ (result.json, history.csv) and export/<cell>/. Raises StoppedEarly after a signal.
    """
    window_stage(
        study,
        cell.name,
        say,
        parameter_file,
        prove=partial(_prove, study, cell, say),
        prepare=partial(arm_job, study, cell),
        put_out=partial(_put_out, cell),
    )


def window_stage(
    study: Study,
    name: str,
    say: Say,
    parameter_file: Path,
    *,
    prove: Callable[[], WindowJob],
    prepare: Callable[[], WindowJob],
    put_out: Callable[[WindowJob, RunDirectory], None],
) -> None:
    """Run a job of windows on all its ranks. name: of the cell, as `jobs.named_job` knows it."""
    parameters = study.parameters
    stage = Stage(
        again=again(name),
        engine=parameters.engine,
        processes=parameters.processes,
        check_world=lambda world: _check_division(study, world),
        prove=prove,
        prepare=prepare,
        worker=(WORKER, [str(parameter_file), name]),
        work=_work,
        put_out=put_out,
    )
    run_training(stage, say=say)


def precision(device: str) -> dict[str, str]:
    """Of training, for headers. device: type of torch."""
    return {"weights": "fp32", "moments": "fp32", "compute": "bf16 autocast" if device == "cuda" else "fp32"}


def _work(job: WindowJob, directory: RunDirectory, train: Callable[[], None]) -> None:
    """`trained.work`, where checkpoints and export have room and one is saved in time."""
    require_room(job.study, _parameters(job.study), run=directory.path, device=visible_device())
    work(job, directory, train)


def _parameters(study: Study) -> int:
    """Of the model: by its size, else as many as its exact export holds."""
    model = study.parameters.model
    if model.made is not None or model.size is not None:
        return size_of(model).parameters
    weights = (study.export(CELL) / EXACT).glob("*.safetensors")
    return sum(path.stat().st_size for path in weights) // 4


def _check_division(study: Study, world: int) -> None:
    """ConfigError unless a step divides into micro-batches of all ranks."""
    accumulation(study.parameters.training.windows_per_step, study.parameters.engine.micro_batch, world)


def _prove(study: Study, cell: Cell, say: Say) -> WindowJob:
    files = require_original(study)
    say(f"start     {files} files of the untouched model proved against their digests")
    job = arm_job(study, cell)
    plan = job.plan
    say(
        f"plan      {plan.fingerprint[:12]}: {plan.steps:,} steps of {plan.windows_per_step} windows "
        f"of {plan.window:,} tokens from {plan.dataset}, {plan.unused:,} windows and {plan.left_out:,} tokens left over"
    )
    if job.declaration is not None:
        say(f"arm       {job.declaration.lines()[0]}")
    return job


def _put_out(cell: Cell, job: WindowJob, directory: RunDirectory) -> None:
    """Export and result from the run directory, which keeps the originals. The header is of now: what the parameters
    hold besides this run may have changed since."""
    study, found = job.study, read_trained(directory)
    put_out(directory.path / FINAL, study.export(cell), lineage=read_lineage(directory.path))
    header = study.header(
        TRAIN,
        cell,
        run_id=job.spec.run_id,
        inputs=job.tokens.inputs(study) | open_set(study, VAL).inputs(study) | export_inputs(study, CELL),
        slice_digest=slice_digest(study, study.replicate(cell)),
        precision=precision(found["device"]),
        device=found["device"],
        wall_s=found["wall_s"],
    )
    place = study.place(TRAIN, cell)
    place.mkdir(parents=True, exist_ok=True)
    write_atomic(place / HISTORY, history_csv(COLUMNS, found["body"]["history"]))
    write_result(study.document(TRAIN, cell), TRAIN, header, found["body"])
