"""What a finished run says of itself: history from its spools, audits, resumes, checkpoint, and losses at the end.

Source: pile-ffn spec section 10.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from trackyard.models.nonneg_export import EXACT
from trackyard.recipes.pile_ffn.arms.exporting import verified
from trackyard.recipes.pile_ffn.arms.job import WindowJob
from trackyard.recipes.pile_ffn.arms.starting import load_plain
from trackyard.recipes.pile_ffn.arms.telling import tell_outcome
from trackyard.recipes.pile_ffn.arms.validating import val_nll
from trackyard.recipes.pile_ffn.measures.exports import device
from trackyard.recipes.running.history import last_checkpoint, peak_rate, spooled_steps
from trackyard.recipes.running.moved import read_movement
from trackyard.recipes.running.training import FINAL
from trackyard.record.rundir import RunDirectory
from trackyard.record.spool import Spool
from trackyard.schema import read_document, write_document

SCHEMA = "trackyard-pile-ffn-run/1"
COLUMNS = ("step", "tokens", "lr", "train_nll", "val_nll", "grad_norm", "tokens_per_s")


def work(job: WindowJob, directory: RunDirectory, train: Callable[[], None]) -> None:
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


def _body(job: WindowJob, directory: RunDirectory) -> dict[str, Any]:
    final = directory.path / FINAL
    examined = verified(final, job.declaration)
    model = load_plain(final / EXACT, fix=f"rm -r {final}   (the stage then exports it again)").to(device())
    validation = val_nll(job.study, model)
    rows, resumes = history(job, directory)
    rows[-1]["val_nll"] = validation
    movement = read_movement(directory.path, job.steps)
    return {
        "steps": job.steps,
        "tokens": job.plan.predicted,
        "plan": job.plan_fingerprint,
        "learning_rate": job.learning_rate,
        "final": {"train_nll": rows[-1]["train_nll"], "val_nll": validation},
        "history": rows,
        "skipped": sorted(set(range(1, job.steps + 1)) - {row["step"] for row in rows}),
        "audit": [row for report in movement for row in report["audit"]],
        "movement": [{key: report[key] for key in ("step", "median_changed", "small_share")} for report in movement],
        "verified": examined,
        "resumes": resumes,
        "checkpoint": last_checkpoint(job, directory),
    }


def history(job: WindowJob, directory: RunDirectory) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """A row for every applied step, and the resumes. Errors as `spooled_steps`."""
    found, resumes = spooled_steps(job, directory)
    per_step = job.plan.windows_per_step * job.plan.window
    rows = [
        {
            "step": step,
            "tokens": step * per_step,
            "lr": peak_rate(values),
            "train_nll": values["train/loss"],
            "val_nll": None,
            "grad_norm": values["train/gradient_norm"],
            "tokens_per_s": values.get("usage/tokens_per_second"),
        }
        for step, values in found.items()
        if "train/loss" in values
    ]
    return rows, resumes


def _record(job: WindowJob, directory: RunDirectory, body: Mapping[str, Any]) -> None:
    """The numbers, the export and the end into a spool of their own attempt."""
    with Spool(directory.spool, directory.new_attempt()) as spool:
        tell_outcome(job.study, job.spec, job.steps, body, spool)
