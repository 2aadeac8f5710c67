"""The study as jobs: what waits for what, as in pipelines/pile_ffn/dvc.yaml."""

from __future__ import annotations

from trackyard.estimate.jobs import Step, job_name
from trackyard.recipes.pile_ffn.cells import BASELINE, UNTOUCHED
from trackyard.recipes.pile_ffn.parameters import PileFfnParameters


def chain(parameters: PileFfnParameters) -> list[Step]:
    """Every stage in an order in which nothing waits for what comes later."""
    start = "untouched"
    found = [
        Step("fetch", None, ()),
        Step("tokenize", None, ("fetch",)),
        Step(start, None, ("fetch", "tokenize")),
        Step("init", None, (start,)),
    ]
    exporter = {UNTOUCHED: start}
    for cell in parameters.trained_cells:
        found.append(Step("train", cell.name, ("tokenize", start, "init")))
        exporter[cell.name] = f"train@{cell.name}"
    for variant in parameters.degraded:
        before = [f"train@{arm}-{seed}" for arm in (BASELINE, f"nonneg_{variant}") for seed in parameters.seeds]
        found.append(Step("degrade", variant, ("tokenize", *before)))
        exporter |= {cell.name: f"degrade@{variant}" for cell in parameters.cells_of(f"degraded_{variant}")}
    for stage in ("evaluate", "attack"):
        for arm in parameters.measured:
            exports = dict.fromkeys(exporter[cell.name] for cell in parameters.cells_of(arm))
            found.append(Step(stage, arm, ("tokenize", *exports)))
    found.append(Step("transfer", None, tuple(job_name("attack", arm) for arm in parameters.measured)))
    return [*found, Step("aggregate", None, tuple(job_name(step.stage, step.item) for step in found[3:]))]
