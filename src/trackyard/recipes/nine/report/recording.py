"""The sweep in MLflow, through the spool: a run of the sweep with its figures and tables, one of each configuration.

Runs are found again by what they are: comparing again adds nothing, and numbers that were measured anew stand beside
the earlier ones, one step further. Source: nine-datasets spec section 9, design section 5.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trackyard.digest import digest_json, short
from trackyard.recipes.nine.report.findings import Finding
from trackyard.recipes.nine.report.gathering import Gathered
from trackyard.recipes.nine.report.metrics import SWEEP, configuration_metrics, sweep_metrics
from trackyard.recipes.reporting.outcomes import record_outcome
from trackyard.recipes.reporting.recording import METRICS_TAG, record_study, tell
from trackyard.record.code import CodeIdentity
from trackyard.record.identity import RunSpec
from trackyard.record.metrics_file import FILE
from trackyard.record.rundir import open_or_create
from trackyard.record.tracking.server import DatasetFact

TRACK, CONFIGURATION = "nine", "configuration"
KEY_TAG, WATERMARK_TAG = "trackyard.key", "trackyard.partial"


def record_sweep(
    gathered: Gathered,
    found: Sequence[Finding],
    results: Path,
    shown: Sequence[str],
    *,
    runs: Path,
    code: CodeIdentity,
    image: str | None,
    seed: int,
    datasets: Sequence[DatasetFact],
) -> tuple[str, int]:
    """Spool everything; id of the run of the sweep, and how many configurations have one.

    runs: of the repository. shown: files of the folder `results`, relative to it, that are shown beside the numbers.
    datasets: whose questions were asked, named as their tasks.
    """
    sweep = gathered.sweep

    def spec(stage: str, parameters: Mapping[str, Any], parent: str | None) -> RunSpec:
        return RunSpec(
            track=TRACK, stage=stage, parameters=parameters, plan=short(digest_json(list(sweep.keys))),
            model={"name": sweep.model, "digest": sweep.digest, "precision": sweep.precision}, snapshots={},
            parent=parent, code=code, image=image, seed=seed,
        )  # fmt: skip

    shared = {"strategy": sweep.strategy, "ending": sweep.ending, "tasks": list(gathered.tasks)}
    tags = {WATERMARK_TAG: gathered.watermark} if gathered.watermark else {}
    whole = record_study(
        runs,
        spec(SWEEP, shared | {"configurations": len(sweep.keys)}, None),
        sweep_metrics(found),
        results,
        shown,
        tags=tags | {METRICS_TAG: (results / FILE).relative_to(runs.parent).as_posix()},
        datasets=datasets,
    )
    recorded = 0
    for key in sweep.keys:
        values = configuration_metrics(gathered, key)
        if values:
            knobs = next(here[key] for here in gathered.results.values() if key in here).knobs
            directory = open_or_create(
                runs, spec(CONFIGURATION, shared | {"knobs": knobs, "key": key}, whole.spec.run_id)
            )
            asked = [fact for fact in datasets if key in gathered.results.get(fact.name, {})]
            tell(directory, tags=tags | {KEY_TAG: key}, datasets=asked)
            record_outcome(directory.path, values)
            recorded += 1
    return whole.spec.run_id, recorded
