"""One stage from proved data to exported model: what `trackyard run molmo2 stage2` does.

Source: design sections 4 to 6; molmo2 spec sections 2 and 13 to 15.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from trackyard.durable import atomic_directory, sweep, write_atomic
from trackyard.models.molmo2 import load_molmo2
from trackyard.publish.card import CARD, CardFacts, TrainedOn, model_card
from trackyard.recipes.molmo2.card import card_facts, row_shares
from trackyard.recipes.molmo2.division import check_division
from trackyard.recipes.molmo2.outcome import record_outcome, stage_metrics
from trackyard.recipes.molmo2.parameters import Molmo2Parameters, StageName
from trackyard.recipes.molmo2.prepare import Prepared, preflight, prepare, verify_snapshot
from trackyard.recipes.molmo2.scoring import Validation, validate
from trackyard.recipes.molmo2.start import export_directory
from trackyard.recipes.molmo2.training import Molmo2Job
from trackyard.recipes.running.one_rank import Say
from trackyard.recipes.running.stage import Stage, run_training
from trackyard.recipes.running.training import FINAL
from trackyard.record.curve import Curve, read_curve
from trackyard.record.lineage.datasets import source_words
from trackyard.record.lineage.document import names_in, read_lineage, write_lineage
from trackyard.record.metrics_file import FILE, write_metrics
from trackyard.record.rundir import RunDirectory
from trackyard.schema import read_document, write_document

RESULT_SCHEMA = "trackyard-result/1"
VALIDATION_SCHEMA = "trackyard-validation/1"
WORKER = "trackyard.recipes.molmo2.worker"


def run_stage(parameters: Molmo2Parameters, stage: StageName, root: Path, *, parameter_file: Path, say: Say) -> bool:
    """Run a stage to its end, continuing wherever an earlier attempt was cut off.

    Puts out `artifacts/molmo2/<stage>/`: export/, metrics.json, curves.csv. Raises StoppedEarly after a signal and at
    the end of its time. False in a process that only helped rank 0 of its launcher, where nothing is left to be done.
    """
    described = Stage(
        again=f"dvc repro {stage}",
        engine=parameters.engine_of(stage),
        processes=parameters.processes,
        check_world=lambda world: check_division(parameters, stage, world),
        prove=lambda: _proved(parameters, stage, root, say),
        prepare=lambda: Molmo2Job(prepare(parameters, stage, root)),
        worker=(WORKER, [str(parameter_file), stage]),
        work=lambda job, directory, train: _finish_run(job.prepared, directory, train, say),
        put_out=_put_out,
    )
    return run_training(described, say=say)


def _proved(parameters: Molmo2Parameters, stage: StageName, root: Path, say: Say) -> Molmo2Job:
    """The stage, prepared from data that was re-hashed just now."""
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
    return Molmo2Job(prepared)


def _finish_run(prepared: Prepared, directory: RunDirectory, train: Callable[[], None], say: Say) -> None:
    """Everything up to result.json. Each part leaves a file, and is not done again after a restart."""
    say(f"preflight {preflight(prepared)} datasets decode and have loss targets")
    started = time.monotonic()
    before = _validation(directory, "start", prepared, prepared.start.build)
    train()
    after = _validation(
        directory,
        "trained",
        prepared,
        lambda: load_molmo2(directory.path / FINAL, max_positions=prepared.plan.budget.tokens),
    )
    curve = read_curve(directory.spool, prepared.plan.steps)
    result = _result(prepared, before, after, curve, time.monotonic() - started)
    record_outcome(prepared, directory, result, card=model_card(_card(prepared, result)))
    write_document(directory.result, RESULT_SCHEMA, result)


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
    """As it can be said here; `trackyard publish` says more."""
    shares = row_shares(prepared.plan.summary)
    return card_facts(
        prepared.spec,
        result,
        data=tuple(
            TrainedOn(
                name=name,
                licence=dataset.manifest.licence,
                source=source_words(dataset.manifest.source),
                fingerprint=dataset.manifest.fingerprint,
                share=shares.get(name, 0.0),
            )
            for name, dataset in prepared.datasets.items()
        ),
        bases=(),
    )


def _put_out(job: Molmo2Job, directory: RunDirectory) -> None:
    """Copy the result to where DVC expects the stage's outputs; the run directory keeps the originals."""
    prepared = job.prepared
    result = read_document(directory.result, RESULT_SCHEMA, fix=f"rm {directory.result} and run the stage again")
    export = export_directory(prepared.root, prepared.stage)
    sweep(export.parent)
    if export.exists():
        shutil.rmtree(export)
    with atomic_directory(export) as partial:
        shutil.copytree(directory.path / FINAL, partial, dirs_exist_ok=True)
        write_atomic(partial / CARD, model_card(_card(prepared, result)))
        write_lineage(partial, read_lineage(directory.path), files=names_in(partial))
    curve = "".join(f"{step},{loss:.6g}\n" for step, loss in result["curve"])
    write_metrics(export.parent / FILE, {prepared.stage: stage_metrics(result)})
    write_atomic(export.parent / "curves.csv", "step,loss\n" + curve)
