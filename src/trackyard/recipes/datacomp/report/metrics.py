"""The numbers of the track by the names of all tracks: metrics.json, and what MLflow shows of runs and of the study.

A run has the scores of its own arm under the same names as every other run, and beside them those of the controls that
use its weights: eval/<set>/<metric>, and eval/<control>/<set>/<metric>.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from trackyard.digest import digest_json, short
from trackyard.recipes.datacomp.cells import ARMS, Cell
from trackyard.recipes.datacomp.report.gathering import TRAIN, Gathered
from trackyard.recipes.datacomp.report.table import HEADLINE, Metric, Row, chance_of
from trackyard.recipes.datacomp.study import TRACK, Study
from trackyard.recipes.datacomp.training.telling import run_metrics
from trackyard.recipes.reporting.grouping import arm_tags
from trackyard.recipes.reporting.outcomes import record_outcome
from trackyard.recipes.reporting.recording import METRICS_TAG, record_study, tell
from trackyard.record.identity import RunSpec
from trackyard.record.image import image_digest
from trackyard.record.metrics_file import FILE
from trackyard.record.rundir import open_existing
from trackyard.record.tracking.server import DatasetFact
from trackyard.record.tracking.tree import GROUP_TAG

NAMES: Mapping[Metric, str] = {"accuracy": "accuracy", "macro": "macro_accuracy"}
"""Of the headlines of sets, among the metrics of all tracks."""
WHOLE = "study"
"""Stage of the run of the whole study, and its label in metrics.json."""


def cell_metrics(study: Study, gathered: Gathered, label: str) -> dict[str, float]:
    """What an arm scores at a seed. label: of an evaluated cell."""
    found = {}
    for name in study.parameters.evaluation.sets:
        body = gathered.evaluated(name)[label].body
        metric = f"eval/{name}/{NAMES[HEADLINE[name]]}"
        found[metric] = float(body[HEADLINE[name]])
        found[f"examples/{metric}"] = body["n"]
        chance = chance_of(body)
        if chance is not None:
            found[f"chance/{metric}"] = chance
        if "nll_per_token" in body:
            found[f"eval/{name}/nll"] = float(body["nll_per_token"])
    return found


def outcome_of(study: Study, gathered: Gathered, cell: Cell) -> dict[str, float]:
    """What a trained run is shown with: the scores of its arm, and of the controls that use its weights."""
    found = cell_metrics(study, gathered, cell.label)
    for arm in study.parameters.arms:
        if ARMS[arm].run == cell.name != arm:
            control = cell_metrics(study, gathered, Cell(name=arm, seed=cell.seed).label)
            found |= {
                name.replace("eval/", f"eval/{arm}/", 1): value
                for name, value in control.items()
                if name.startswith("eval/")
            }
    return found


def study_metrics(rows: Sequence[Row]) -> dict[str, float]:
    """What the study compares: scores of every arm, means over seeds."""
    return {f"eval/{row.arm}/{row.set}/{NAMES[row.metric]}": row.score for row in rows}


def all_metrics(study: Study, gathered: Gathered, rows: Sequence[Row]) -> dict[str, dict[str, float]]:
    """metrics.json: of every cell what it scores and what it was trained to, and of the study."""
    trained = gathered.cells[TRAIN]
    cells = {
        label: cell_metrics(study, gathered, label) | (run_metrics(trained[label].body) if label in trained else {})
        for label in study.parameters.evaluated
    }
    # A run whose own arm is not evaluated was trained all the same.
    alone = {label: run_metrics(result.body) for label, result in trained.items() if label not in cells}
    return cells | alone | {WHOLE: study_metrics(rows)}


def record_metrics(study: Study, gathered: Gathered) -> tuple[int, list[str]]:
    """Spool the numbers of every trained run, with its place in the study and what it was measured on.

    Returns how many have them, and the cells whose run is not on this machine.
    """
    recorded, absent = 0, []
    for label, cell in study.parameters.trained_cells.items():
        path = study.runs / TRACK / TRAIN / gathered.cells[TRAIN][label].header.run_id
        if not path.is_dir():
            absent.append(label)
        elif label in study.parameters.evaluated:
            directory, values = open_existing(path), outcome_of(study, gathered, cell)
            tags = arm_tags(study.group, cell.name, directory.spec.seed)
            tell(directory, tags=tags, datasets=_measured_on(study, gathered, label))
            record_outcome(path, values)
            recorded += 1
    return recorded, absent


def record_whole(study: Study, gathered: Gathered, rows: Sequence[Row], results: Path, shown: Sequence[str]) -> str:
    """Spool the study as a run of its own, with its tables and figures; its id. shown: files below `results`."""
    trained = gathered.cells[TRAIN]
    base = next(iter(trained.values())).header.base
    spec = RunSpec(
        track=TRACK,
        stage=WHOLE,
        parameters=study.parameters.sections("compare"),
        plan=short(digest_json(sorted({str(result.body["plan"]) for result in trained.values()}))),
        model={"gemma": base.gemma, "vae": base.vae},
        snapshots={},
        parent=None,
        code=study.code,
        image=image_digest(),
        seed=study.parameters.seeds[0],
    )
    facts = dict.fromkeys(fact for label in study.parameters.evaluated for fact in _measured_on(study, gathered, label))
    tags = {GROUP_TAG: study.group, METRICS_TAG: (results / FILE).relative_to(study.root).as_posix()}
    return record_study(
        study.runs, spec, study_metrics(rows), results, shown, tags=tags, datasets=list(facts)
    ).spec.run_id


def _measured_on(study: Study, gathered: Gathered, label: str) -> list[DatasetFact]:
    """The sets of items that a cell answered."""
    found = []
    for name in study.parameters.evaluation.sets:
        source = study.items(name).relative_to(study.root).as_posix()
        for path, digest in gathered.evaluated(name)[label].header.inputs.items():
            if path == source:
                found.append(DatasetFact(name=name, digest=digest, source=source, context="evaluation"))
    return found
