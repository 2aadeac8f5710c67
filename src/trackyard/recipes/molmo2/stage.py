"""One stage from proved data to exported model: what `trackyard run molmo2 stage2` does.

Source: design sections 4 to 6; molmo2 spec sections 2 and 13 to 15.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers.utils.logging import disable_progress_bar

from trackyard.durable import atomic_directory, sweep, write_atomic
from trackyard.errors import StoppedEarly, TrackyardError
from trackyard.launch.launched import Launched, adopt, launched, require_world
from trackyard.launch.lock import run_lock
from trackyard.launch.orders import Orders, Training, leading, meet
from trackyard.launch.processes import run_processes
from trackyard.launch.signals import cause, deadline, stop_error, stop_flag, stopping_at
from trackyard.models.molmo2 import load_molmo2
from trackyard.publish.card import CardFacts, model_card
from trackyard.recipes.molmo2.division import check_division
from trackyard.recipes.molmo2.one_rank import Say, follow, logging_to, train_share
from trackyard.recipes.molmo2.parameters import STAGES, Molmo2Parameters, StageName
from trackyard.recipes.molmo2.prepare import Prepared, preflight, prepare, verify_snapshot
from trackyard.recipes.molmo2.scoring import Validation, validate
from trackyard.recipes.molmo2.start import export_directory
from trackyard.recipes.molmo2.training import FINAL
from trackyard.record.curve import Curve, read_curve
from trackyard.record.lineage import require_file, write_lineage
from trackyard.record.rundir import Attempt, RunDirectory, open_or_create
from trackyard.record.spool import Spool, read_spool
from trackyard.runner import Together
from trackyard.schema import read_document, write_document
from trackyard.train.checkpoint import complete_checkpoints

RESULT_SCHEMA = "trackyard-result/1"
VALIDATION_SCHEMA = "trackyard-validation/1"
WORKER = "trackyard.recipes.molmo2.worker"
WEIGHTS = f"{FINAL}/model.safetensors"
"""The trained weights, in a run directory."""

Train = Callable[[Prepared, RunDirectory, Attempt], None]
"""Trains a run to its final weights, on all its ranks."""


def run_stage(parameters: Molmo2Parameters, stage: StageName, root: Path, *, parameter_file: Path, say: Say) -> bool:
    """Run a stage to its end, continuing wherever an earlier attempt was cut off.

    Puts out `artifacts/molmo2/<stage>/`: export/, metrics.json, curves.csv. Raises StoppedEarly after a signal and at
    the end of its time. Under a launcher rank 0 does all of it and the others help it to train: False in a process that
    only helped, where nothing is left to be done.
    """
    disable_progress_bar()
    torch.set_num_threads(parameters.engine_of(stage).threads)
    found = launched(os.environ)
    if found is not None:
        require_world(found, parameters.processes)
    world = parameters.processes if found is None else found.world
    engine = parameters.engine_of(stage)
    check_division(parameters, stage, world)
    until = deadline(engine.max_hours, os.environ, wall=time.time(), monotonic=time.monotonic())
    if found is None:
        with stop_error(lambda reason: _nothing_done(stage, reason)), stopping_at(until):
            _run(parameters, stage, root, _own_ranks(parameters, parameter_file, say), say)
        return True
    return _run_launched(found, parameters, stage, root, until, say)


def _run_launched(
    found: Launched, parameters: Molmo2Parameters, stage: StageName, root: Path, until: float | None, say: Say
) -> bool:
    """Rank 0 runs the stage and gives orders; the others follow them. True on rank 0."""
    adopt(found)
    orders = meet(found)
    if found.rank > 0:
        follow(orders, parameters, stage, root)
        return False
    say(f"ranks     {found.world} started by {found.by}, {found.local_world} of them on this machine")
    with leading(orders), stop_error(lambda reason: _nothing_done(stage, reason)), stopping_at(until):
        _run(parameters, stage, root, _launched_ranks(orders, say), say)
    return True


def _run(parameters: Molmo2Parameters, stage: StageName, root: Path, train: Train, say: Say) -> None:
    """The stage as one process sees it; `train` brings in the other ranks."""
    verified = verify_snapshot(parameters, root)
    say(
        f"data      {sum(item.files for item in verified)} files, {sum(item.rows for item in verified):,} rows, "
        f"{sum(item.bytes for item in verified) / 1e6:.1f} MB proved against their manifests"
    )
    prepared = prepare(parameters, stage, root)
    totals = prepared.plan.summary["totals"]
    say(
        f"plan      {prepared.plan.fingerprint[:12]}: {totals['steps']:,} steps, {totals['rows']:,} rows, "
        f"{totals['tokens']:,} tokens, {totals['padding_fraction']:.1%} padding"
    )
    directory = open_or_create(root / "runs", prepared.spec)
    with (
        run_lock(directory.path),
        logging_to(directory.log),
        stop_error(lambda reason: _stopped(directory, reason)),
    ):
        sweep(directory.path)
        say(f"run       {prepared.spec.run_id} in {directory.path.relative_to(root)}")
        if not directory.result.exists():
            _finish_run(prepared, directory, train, say)
        if not directory.lineage.exists():
            _write_lineage(prepared, directory.path, ["result.json", WEIGHTS])
        _put_out(prepared, directory)


def _finish_run(prepared: Prepared, directory: RunDirectory, train: Train, say: Say) -> None:
    """Everything up to result.json. Each part leaves a file, and is not done again after a restart."""
    directory.link_plan(prepared.plan.directory, prepared.plan.fingerprint)
    say(f"preflight {preflight(prepared)} datasets decode and have loss targets")
    started = time.monotonic()
    before = _validation(directory, "start", prepared, prepared.start.build)
    attempt = directory.new_attempt()
    if not (directory.path / FINAL).exists():
        train(prepared, directory, attempt)
    after = _validation(
        directory,
        "trained",
        prepared,
        lambda: load_molmo2(directory.path / FINAL, max_positions=prepared.plan.budget.tokens),
    )
    curve = read_curve(directory.spool, prepared.plan.steps)
    result = _result(prepared, before, after, curve, time.monotonic() - started)
    _record_outcome(prepared, directory, result)
    write_document(directory.result, RESULT_SCHEMA, result)


def _own_ranks(parameters: Molmo2Parameters, parameter_file: Path, say: Say) -> Train:
    """Training in this process, or where `processes` is more than 1 in as many that it starts."""

    def train(prepared: Prepared, directory: RunDirectory, attempt: Attempt) -> None:
        arguments = [str(parameter_file), prepared.stage, str(attempt.number), prepared.spec.run_id]
        ended = run_processes(WORKER, arguments, processes=parameters.processes)
        if ended.stopped_by is not None:
            raise _stopped(directory, cause(ended.stopped_by))
        if not (directory.path / FINAL).exists():
            raise _worker_failure(directory, attempt, ended)

    def train_here(prepared: Prepared, directory: RunDirectory, attempt: Attempt) -> None:
        _train_here(prepared, directory, attempt, say)

    return train if parameters.processes > 1 else train_here


def _launched_ranks(orders: Orders, say: Say) -> Train:
    """Training in this process, which is rank 0, and in the others of its launcher."""

    def train(prepared: Prepared, directory: RunDirectory, attempt: Attempt) -> None:
        orders.give(Training(attempt=attempt.number, run_id=prepared.spec.run_id))
        _train_here(prepared, directory, attempt, say)

    return train


def _train_here(prepared: Prepared, directory: RunDirectory, attempt: Attempt, say: Say) -> None:
    with stop_flag() as stopped:
        train_share(prepared, directory, attempt, should_stop=stopped, say=say)
    if stopped.name is not None:
        raise _stopped(directory, stopped.name)


def _nothing_done(stage: str, reason: str) -> TrackyardError:
    """The end of a run that was asked to stop while it proved its data, before its directory was known."""
    return TrackyardError(
        what=f"stopped by {reason} before the run was opened",
        why="nothing was trained in this attempt; what earlier ones saved is untouched",
        fix=f"dvc repro {stage}",
    )


def _stopped(directory: RunDirectory, reason: str) -> TrackyardError:
    """The end of a run that was asked to stop: exit code 75 only where the next attempt has something to go on."""
    stage = directory.spec.stage
    if (directory.path / FINAL).exists() or complete_checkpoints(directory.checkpoints):
        return StoppedEarly(
            what=f"stopped by {reason}",
            why=f"a complete checkpoint is in {directory.checkpoints}, and the next attempt continues from there",
            fix=f"dvc repro {stage}",
        )
    return TrackyardError(
        what=f"stopped by {reason} before the first checkpoint",
        why="there is nothing to continue from yet",
        fix=f"dvc repro {stage}   (it starts at the first step)",
    )


def _worker_failure(directory: RunDirectory, attempt: Attempt, ended: Together) -> TrackyardError:
    """What became of ranks that left no final weights."""
    spool = directory.spool / f"attempt-{attempt.number:04d}.jsonl"
    events = [event for _, event in read_spool(spool).events] if spool.exists() else []
    states = [event["state"] for event in events if event["event"] == "status"]
    if states and states[-1] == "stopped":
        return _stopped(directory, "a signal to its ranks, or the end of their time")
    files = sorted((directory.path / "stacks").glob(f"attempt-{attempt.number:04d}-*"))
    stacks = [path.name for path in files if path.stat().st_size]  # a killed rank leaves none
    return TrackyardError(
        what=f"the processes of attempt {attempt.number} ended with {', '.join(map(str, ended.codes))} "
        "and without final weights",
        why="a rank failed or stood still; its error is above"
        + (f", where each rank was in {directory.path / 'stacks'}: {', '.join(stacks)}" if stacks else ""),
        fix="mend what it names and run the same command again: it continues from the last checkpoint",
    )


def _validation(directory: RunDirectory, name: str, prepared: Prepared, build: Callable[[], Any]) -> Validation:
    """Scores of the start or of the trained model; kept in the run directory."""
    path = directory.path / f"validation-{name}.json"
    if not path.exists():
        write_document(path, VALIDATION_SCHEMA, validate(build(), prepared).to_json())
    return Validation.from_json(read_document(path, VALIDATION_SCHEMA, fix=f"rm {path} and run the stage again"))


def _result(prepared: Prepared, before: Validation, after: Validation, curve: Curve, seconds: float) -> dict[str, Any]:
    plan = prepared.plan
    totals = plan.summary["totals"]
    return {
        "run_id": prepared.spec.run_id,
        "steps": plan.steps,
        "tokens": totals["tokens"],
        "visual_tokens": totals["visual_tokens"],
        "rows": totals["rows"],
        "padding": totals["padding_fraction"],
        "skipped_steps": len(curve.skipped),
        "loss": {"first": curve.points[0][1], "last": curve.points[-1][1]},
        "validation": {"start": before.to_json(), "trained": after.to_json()},
        "seconds": seconds,
        "curve": curve.points,
    }


def _card(prepared: Prepared, result: dict[str, Any]) -> CardFacts:
    spec, validation = prepared.spec, result["validation"]
    shares = dict.fromkeys(prepared.datasets, 0.0)
    for entry in prepared.plan.summary["entries"]:
        shares[entry["dataset"]] = shares.get(entry["dataset"], 0.0) + entry["row_share"]
    metrics = [("validation loss", f"{validation['start']['loss']:.3f}", f"{validation['trained']['loss']:.3f}")]
    metrics += [
        (
            f"{metric} ({validation['trained']['scores'][metric]['examples']} examples)",
            f"{validation['start']['scores'][metric]['value']:.1%}",
            f"{validation['trained']['scores'][metric]['value']:.1%}",
        )
        for metric in validation["trained"]["scores"]
    ]
    return CardFacts(
        title=f"Molmo2 {prepared.parameters.model.preset}, {spec.stage}",
        track=spec.track,
        stage=spec.stage,
        run_id=spec.run_id,
        plan_fingerprint=spec.plan,
        commit=spec.code.commit,
        dirty_digest=spec.code.dirty_digest,
        parent_run=spec.parent,
        datasets={
            name: {
                "licence": dataset.manifest.licence,
                "fingerprint": dataset.manifest.fingerprint,
                "share": shares[name],
            }
            for name, dataset in prepared.datasets.items()
        },
        metrics=metrics,
        steps=result["steps"],
        tokens=result["tokens"],
    )


def _record_outcome(prepared: Prepared, directory: RunDirectory, result: dict[str, Any]) -> None:
    """Scores, datasets and status into a spool of their own attempt."""
    values = {}
    for moment, step in (("start", 0), ("trained", prepared.plan.steps)):
        validation = result["validation"][moment]
        values[step] = {"validation/loss": validation["loss"]} | {
            f"validation/{metric}": score["value"] for metric, score in validation["scores"].items()
        }
    with Spool(directory.spool, directory.new_attempt()) as spool:
        for step, metrics in values.items():
            spool.metrics(metrics, step)
        for name, dataset in prepared.datasets.items():
            spool.dataset(name, dataset.manifest.fingerprint, str(prepared.parameters.snapshot / name), "training")
        spool.artifact("validation-trained.json")
        spool.status("finished")


def _put_out(prepared: Prepared, directory: RunDirectory) -> None:
    """Copy the result to where DVC expects the stage's outputs; the run directory keeps the originals."""
    result = read_document(directory.result, RESULT_SCHEMA, fix=f"rm {directory.result} and run the stage again")
    again = f"rm -r {directory.path / FINAL} {directory.result} {directory.lineage}"
    require_file(directory.path, WEIGHTS, fix=f"{again}   (the stage then makes them anew from its last checkpoint)")
    export = export_directory(prepared.root, prepared.stage)
    sweep(export.parent)
    if export.exists():
        shutil.rmtree(export)
    with atomic_directory(export) as partial:
        shutil.copytree(directory.path / FINAL, partial, dirs_exist_ok=True)
        write_atomic(partial / "README.md", model_card(_card(prepared, result)))
        made = sorted(path.relative_to(partial).as_posix() for path in partial.rglob("*") if path.is_file())
        _write_lineage(prepared, partial, made)
    curve = "".join(f"{step},{loss:.6g}\n" for step, loss in result["curve"])
    write_atomic(export.parent / "metrics.json", json.dumps(_metrics(result), indent=2) + "\n")
    write_atomic(export.parent / "curves.csv", "step,loss\n" + curve)


def _write_lineage(prepared: Prepared, directory: Path, files: list[str]) -> None:
    before = STAGES.index(prepared.stage) - 1
    write_lineage(
        directory,
        spec=prepared.spec,
        plan=prepared.plan.directory,
        snapshots={name: dataset.directory for name, dataset in prepared.datasets.items()},
        parent=export_directory(prepared.root, STAGES[before]) if before >= 0 else None,
        files=files,
    )


def _metrics(result: dict[str, Any]) -> dict[str, Any]:
    """metrics.json: one schema for all tracks; numbers only, flat enough for `dvc metrics diff`."""
    moments = result["validation"]
    return {
        "steps": result["steps"],
        "tokens": result["tokens"],
        "padding": round(result["padding"], 6),
        "skipped_steps": result["skipped_steps"],
        "loss": result["loss"],
        "validation": {
            "loss": {moment: moments[moment]["loss"] for moment in moments},
            **{
                metric: {
                    **{moment: moments[moment]["scores"][metric]["value"] for moment in moments},
                    "chance": moments["trained"]["scores"][metric]["chance"],
                    "examples": moments["trained"]["scores"][metric]["examples"],
                }
                for metric in moments["trained"]["scores"]
            },
        },
    }
