"""What a finished run says of itself: history from spools, audits, resumes, checkpoint. Source: theworld spec 13."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from trackyard.digest import digest_file
from trackyard.models.theworld.model import TheWorld
from trackyard.recipes.datacomp.training.audits import read_audits
from trackyard.recipes.datacomp.training.export import CONFIG, read_export
from trackyard.recipes.datacomp.training.job import WorldJob
from trackyard.recipes.datacomp.training.jobs import visible
from trackyard.recipes.datacomp.training.starting import device
from trackyard.recipes.datacomp.training.telling import tell_outcome
from trackyard.recipes.running.history import last_checkpoint, peak_rate, spooled_steps
from trackyard.recipes.running.moved import read_movement
from trackyard.recipes.running.training import FINAL
from trackyard.record.rundir import RunDirectory
from trackyard.record.spool import Spool
from trackyard.schema import read_document, write_document

SCHEMA = "trackyard-datacomp-run/1"
COLUMNS = ("step", "tokens", "lr", "train_nll", "grad_norm", "tokens_per_s")


def work(job: WorldJob, directory: RunDirectory, train: Callable[[], None]) -> None:
    """Train, then write result.json of the run: {body, device, wall_s}."""
    started = time.monotonic()
    train()
    body = _body(job, directory)
    _record(job, directory, body)
    document = {"body": body, "device": device().type, "wall_s": time.monotonic() - started}
    write_document(directory.result, SCHEMA, document)


def read_trained(directory: RunDirectory) -> dict[str, Any]:
    """What `work` wrote."""
    return read_document(directory.result, SCHEMA, fix=f"rm {directory.result} and run the stage again")


def history(job: WorldJob, directory: RunDirectory) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """A row for every applied step, and the resumes; tokens: so far. Errors as `spooled_steps`."""
    found, resumes = spooled_steps(job, directory)
    tokens, rows = 0, []
    for step, values in found.items():
        tokens += int(values["train/step_tokens"])
        if "train/loss" in values:
            row = {
                "step": step,
                "tokens": tokens,
                "lr": peak_rate(values),
                "train_nll": values["train/loss"],
                "grad_norm": values["train/gradient_norm"],
                "tokens_per_s": values.get("usage/tokens_per_second"),
            }
            rows.append(row)
    return rows, resumes


def _body(job: WorldJob, directory: RunDirectory) -> dict[str, Any]:
    rows, resumes = history(job, directory)
    movement = read_movement(directory.path, job.steps)
    export = read_export(directory.path / FINAL, again=f"rm -r {directory.path / FINAL}, then {job.again}")
    counts: Mapping[str, int] = export.config["counts"]
    lengths, plan = job.draws.lengths, job.plan
    drawn = [job.draws.of_step(step) for step in range(job.steps)]
    tokens = [int(count) for numbers in drawn for count in lengths.tokens[numbers]]
    return {
        "counts": by_component(counts),
        "expected": export.config["trained"],
        "tensors": dict(counts),
        "r_text": export.config["r_text"],
        "steps": job.steps,
        "samples": plan.usable,
        "draws": len(tokens),
        "filled": plan.filled,
        "left_out": dict(plan.left_out),
        "supervised_tokens": sum(int(lengths.supervised[numbers].sum()) for numbers in drawn),
        "seq_len": {"min": min(tokens), "mean": sum(tokens) / len(tokens), "max": max(tokens)},
        "visible_share": visible(job).share,
        "plan": job.plan_fingerprint,
        "final": {"train_nll": rows[-1]["train_nll"]},
        "history": rows,
        "skipped": sorted(set(range(1, job.steps + 1)) - {row["step"] for row in rows}),
        "audits": [
            {"audit": "count", "step": 0, "trained": export.config["trained"]},
            *read_audits(directory.path, job.steps),
            *({"audit": "movement", "step": report["step"], "tensors": report["audit"]} for report in movement),
        ],
        "resumes": resumes,
        "checkpoint": last_checkpoint(job, directory),
        "export": digest_file(export.folder / CONFIG),
    }


def by_component(counts: Mapping[str, int]) -> dict[str, int]:
    """Trained parameters of each group of spec section 6."""
    found: dict[str, int] = {}
    for name, count in counts.items():
        component = TheWorld.component_of(name)
        found[component] = found.get(component, 0) + count
    return found


def _record(job: WorldJob, directory: RunDirectory, body: Mapping[str, Any]) -> None:
    """The numbers, the export and the end into a spool of their own attempt."""
    with Spool(directory.spool, directory.new_attempt()) as spool:
        tell_outcome(job.study, job.cell, job.steps, body, spool)
