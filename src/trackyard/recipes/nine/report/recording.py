"""The sweep in MLflow, through the spool: a run of the sweep with its figures and tables, one of each configuration.

Runs are found again by what they are: comparing again adds nothing, and numbers that were measured anew stand beside
the earlier ones, one step further. Source: nine-datasets spec section 9, design section 5.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trackyard.digest import digest_json, short
from trackyard.launch.lock import run_lock
from trackyard.recipes.nine.report.findings import Finding
from trackyard.recipes.nine.report.gathering import Gathered
from trackyard.recipes.nine.report.metrics import configuration_metrics, sweep_metrics
from trackyard.recipes.reporting.outcomes import record_outcome
from trackyard.record.code import CodeIdentity
from trackyard.record.facts import events
from trackyard.record.identity import RunSpec
from trackyard.record.rundir import RunDirectory, open_or_create
from trackyard.record.spool import Spool, read_spool
from trackyard.record.sync import LARGEST_ARTIFACT

TRACK, SWEEP, CONFIGURATION = "nine", "sweep", "configuration"
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
) -> tuple[str, int]:
    """Spool everything; id of the run of the sweep, and how many configurations have one.

    runs: of the repository. shown: files of the folder `results`, relative to it, that are shown beside the numbers.
    """
    sweep = gathered.sweep

    def spec(stage: str, parameters: Mapping[str, Any], parent: str | None) -> RunSpec:
        return RunSpec(
            track=TRACK, stage=stage, parameters=parameters, plan=short(digest_json(list(sweep.keys))),
            model={"name": sweep.model, "digest": sweep.digest, "precision": sweep.precision}, snapshots={},
            parent=parent, code=code, image=image, seed=seed,
        )  # fmt: skip

    shared = {"strategy": sweep.strategy, "ending": sweep.ending, "tasks": list(gathered.tasks)}
    whole = open_or_create(runs, spec(SWEEP, shared | {"configurations": len(sweep.keys)}, None))
    tags = {WATERMARK_TAG: gathered.watermark} if gathered.watermark else {}
    _describe(whole, tags, _copied(results, shown, whole.path / "results"))
    record_outcome(whole.path, sweep_metrics(found), mark=min(sweep_metrics(found)))
    recorded = 0
    for key in sweep.keys:
        values = configuration_metrics(gathered, key)
        if values:
            knobs = next(here[key] for here in gathered.results.values() if key in here).knobs
            directory = open_or_create(
                runs, spec(CONFIGURATION, shared | {"knobs": knobs, "key": key}, whole.spec.run_id)
            )
            _describe(directory, tags | {KEY_TAG: key}, [])
            record_outcome(directory.path, values, mark=min(values))
            recorded += 1
    return whole.spec.run_id, recorded


def _describe(directory: RunDirectory, tags: Mapping[str, str], artifacts: Sequence[str]) -> None:
    """Spool labels and files that the run has not yet. Of a file that changed, sync delivers the new one."""
    with run_lock(directory.path):
        parts = {path.name: read_spool(path) for path in sorted(directory.spool.glob("attempt-*.jsonl"))}
        told = {key: value for event in events(parts, "tag") for key, value in event["values"].items()}
        shown = {event["path"] for event in events(parts, "artifact")}
        new_tags = {key: value for key, value in tags.items() if told.get(key) != value}
        new_files = [path for path in artifacts if path not in shown]
        if not new_tags and not new_files:
            return
        with Spool(directory.spool, directory.new_attempt()) as spool:
            for key, value in new_tags.items():
                spool.tag(key, value)
            for path in new_files:
                spool.artifact(path)
            spool.status("finished")


def _copied(results: Path, shown: Sequence[str], folder: Path) -> list[str]:
    """Copies of what is shown, inside of the run, as MLflow is given nothing from outside; their paths in the run."""
    if folder.exists():
        shutil.rmtree(folder)
    found = []
    for name in shown:
        if (results / name).stat().st_size <= LARGEST_ARTIFACT:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(results / name, folder / name)
            found.append((Path(folder.name) / name).as_posix())
    return found
