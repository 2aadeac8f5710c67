"""What a run tells of itself: its place in the study and its data when it begins, its numbers when it is over.

Source: design sections 4 and 5.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trackyard.recipes.datacomp.cells import Cell
from trackyard.recipes.datacomp.study import Study
from trackyard.recipes.datacomp.training.samples import NAME
from trackyard.recipes.reporting.grouping import arm_tags
from trackyard.recipes.running.outcome import CURVE, tell_end
from trackyard.record.identity import RunSpec
from trackyard.record.spool import Spool


def run_metrics(body: Mapping[str, Any]) -> dict[str, float]:
    """What training came to, by the names of all tracks. body: of the result of a run."""
    return {
        "train/steps": body["steps"],
        "train/tokens": body["history"][-1]["tokens"],
        "train/supervised_tokens": body["supervised_tokens"],
        "train/skipped_steps": len(body["skipped"]),
        "train/first_loss": body["history"][0]["train_nll"],
        CURVE: body["final"]["train_nll"],
    }


def tell_origin(study: Study, cell: Cell, spec: RunSpec, spool: Spool) -> None:
    """Tags that MLflow groups and filters runs by, and what is trained on: samples, and the latents of their pictures.

    A run that reads no latents has them in its identity all the same: they decide how many vectors it trains.
    """
    for key, value in arm_tags(study.group, cell.name, spec.seed).items():
        spool.tag(key, value)
    for name, path in ((NAME, study.curated), ("latents", study.latents)):
        spool.dataset(name, spec.snapshots[name], path.relative_to(study.root).as_posix(), "training")


def tell_outcome(study: Study, cell: Cell, steps: int, body: Mapping[str, Any], spool: Spool) -> None:
    """The numbers of a run that is over, and where its export will lie."""
    name, export = f"theworld-{cell.name.replace('_', '-')}", study.export(cell).relative_to(study.root).as_posix()
    tell_end(spool, run_metrics(body), steps, model=name, export=export)
