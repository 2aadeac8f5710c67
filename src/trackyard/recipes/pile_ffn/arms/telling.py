"""What a run of windows tells of itself: its place in the study and its data when it begins, its numbers at the end.

Source: design sections 4 and 5.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trackyard.recipes.pile_ffn.arms.original import CELL, STAGE
from trackyard.recipes.pile_ffn.arms.validating import VAL
from trackyard.recipes.pile_ffn.cells import Cell
from trackyard.recipes.pile_ffn.study import Study
from trackyard.recipes.pile_ffn.text.token_sets import TokenSet, open_set
from trackyard.recipes.reporting.grouping import arm_tags
from trackyard.recipes.running.outcome import CURVE, tell_end
from trackyard.record.identity import RunSpec
from trackyard.record.spool import Spool


def arm_of(spec: RunSpec) -> str:
    """The arm that a run belongs to; the pretraining of a made model is that of the untouched one."""
    return CELL.arm if spec.stage == STAGE else str(spec.parameters["arm"])


def run_metrics(body: Mapping[str, Any]) -> dict[str, float]:
    """What training came to, by the names of all tracks. body: of the result of a run."""
    return {
        "train/steps": body["steps"],
        "train/tokens": body["tokens"],
        "train/skipped_steps": len(body["skipped"]),
        "train/first_loss": body["history"][0]["train_nll"],
        CURVE: body["final"]["train_nll"],
        "validation/loss": body["final"]["val_nll"],
    }


def tell_origin(study: Study, spec: RunSpec, tokens: TokenSet, spool: Spool) -> None:
    """Tags that MLflow groups and filters runs by, and the text that is trained and validated on."""
    for key, value in arm_tags(study.group, arm_of(spec), spec.seed).items():
        spool.tag(key, value)
    for found, context in ((tokens, "training"), (open_set(study, VAL), "evaluation")):
        spool.dataset(found.name, found.digest, (study.tokens / found.name).relative_to(study.root).as_posix(), context)


def tell_outcome(study: Study, spec: RunSpec, steps: int, body: Mapping[str, Any], spool: Spool) -> None:
    """The numbers of a run that is over, and where its export will lie."""
    arm = arm_of(spec)
    cell = CELL if arm == CELL.arm else Cell(arm=arm, seed=spec.seed)
    name, export = f"pile-ffn-{arm.replace('_', '-')}", study.export(cell).relative_to(study.root).as_posix()
    tell_end(spool, run_metrics(body), steps, model=name, export=export)
