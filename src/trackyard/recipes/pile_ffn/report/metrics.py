"""The numbers of a study by the names of all tracks: metrics.json, and what MLflow shows of cells and of the study.

What was measured of a cell stands among the curves of its training run, so that MLflow compares arms. A repeated
aggregation adds nothing. Numbers that were measured anew stand beside the earlier ones, one step further: a point that
was delivered once is never changed (`trackyard.record.points`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from trackyard.digest import digest_json, short
from trackyard.recipes.pile_ffn.arms.original import CELL
from trackyard.recipes.pile_ffn.arms.original import STAGE as PRETRAINING
from trackyard.recipes.pile_ffn.arms.telling import run_metrics
from trackyard.recipes.pile_ffn.cells import Cell
from trackyard.recipes.pile_ffn.report.claims import PRIMARY
from trackyard.recipes.pile_ffn.report.gathering import ATTACKS, Gathered
from trackyard.recipes.pile_ffn.report.rows import ArmRow
from trackyard.recipes.pile_ffn.report.table import measures
from trackyard.recipes.pile_ffn.results import DOCUMENT, read_result
from trackyard.recipes.pile_ffn.study import MADE, TRACK, Study
from trackyard.recipes.reporting.grouping import arm_tags
from trackyard.recipes.reporting.outcomes import record_outcome
from trackyard.recipes.reporting.recording import METRICS_TAG, record_study, tell
from trackyard.record.identity import RunSpec
from trackyard.record.image import image_digest
from trackyard.record.metrics_file import FILE
from trackyard.record.rundir import open_existing
from trackyard.record.tracking.server import DatasetFact
from trackyard.record.tracking.tree import GROUP_TAG

WHOLE = "study"
"""Stage of the run of the whole study, and its label in metrics.json."""
TRAIN = "train"


def cell_metrics(gathered: Gathered, name: str) -> dict[str, float]:
    """What was measured of one cell."""
    perplexity = gathered.results["eval_ppl"][name].body
    found = {f"test/{key}": float(perplexity[key]) for key in ("nll", "ppl", "bpb")}
    for task, measure in measures(gathered.results["eval_bench"][name]).items():
        found[f"bench/{task}"] = measure.value
        found[f"examples/bench/{task}"] = measure.items
        if measure.chance is not None:
            found[f"chance/bench/{task}"] = measure.chance
    for stage in ATTACKS:
        for attack, block in gathered.results[stage][name].body["attacks"].items():
            found[f"attack/{attack}/delta_nats"] = float(block["mean_delta_nats"])
    return found


def study_metrics(rows: Sequence[ArmRow]) -> dict[str, float]:
    """What the study compares, means over seeds: perplexity, and the rise of the loss under its primary attacks."""
    found = {}
    for row in rows:
        found[f"test/{row.arm}/ppl"] = row.ppl.mean
        for attack in PRIMARY:
            found[f"attack/{row.arm}/{attack}/delta_nats"] = row.attacks[attack].delta_nats.mean
    return found


def all_metrics(gathered: Gathered, rows: Sequence[ArmRow]) -> dict[str, dict[str, float]]:
    """metrics.json: of every cell what it was trained to and what was measured of it, and of the study."""
    trained = gathered.results[TRAIN]
    cells = {
        name: cell_metrics(gathered, name) | (run_metrics(trained[name].body) if name in trained else {})
        for name in gathered.results["eval_ppl"]
    }
    return cells | {WHOLE: study_metrics(rows)}


def record_metrics(study: Study, gathered: Gathered) -> tuple[int, list[str]]:
    """Spool the numbers of every trained cell into its training run, with its place in the study and what it read.

    Returns how many runs have them, and the cells whose run directory is not on this machine.
    """
    recorded, absent = 0, []
    for name, cell, path in _runs(study, gathered):
        if not path.is_dir():
            absent.append(name)
            continue
        spec = open_existing(path).spec
        tell(
            open_existing(path), tags=arm_tags(study.group, cell.arm, spec.seed), datasets=_measured_on(gathered, name)
        )
        record_outcome(path, cell_metrics(gathered, name))
        recorded += 1
    return recorded, absent


def record_whole(study: Study, gathered: Gathered, rows: Sequence[ArmRow], results: Path, shown: Sequence[str]) -> str:
    """Spool the study as a run of its own, with its tables and figures; its id. shown: files below `results`."""
    model, trained = study.parameters.model, gathered.results[TRAIN].values()
    spec = RunSpec(
        track=TRACK,
        stage=WHOLE,
        parameters=study.parameters.sections("aggregate"),
        plan=short(digest_json(sorted({result.body["plan"] for result in trained}))),
        model={"id": model.id, "revision": model.revision or MADE},
        snapshots={},
        parent=None,
        code=study.code,
        image=image_digest(),
        seed=study.parameters.seeds[0],
    )
    facts = dict.fromkeys(fact for name in gathered.results["eval_ppl"] for fact in _measured_on(gathered, name))
    tags = {GROUP_TAG: study.group, METRICS_TAG: (results / FILE).relative_to(study.root).as_posix()}
    return record_study(
        study.runs, spec, study_metrics(rows), results, shown, tags=tags, datasets=list(facts)
    ).spec.run_id


def _runs(study: Study, gathered: Gathered) -> Iterator[tuple[str, Cell, Path]]:
    """Cells that are the outcome of a run, with its directory: trained ones, and a made model before all arms."""
    for name, result in gathered.results[TRAIN].items():
        yield name, study.parameters.cells[name], study.runs / TRACK / TRAIN / result.header.run_id
    if study.parameters.model.made is not None:
        made = read_result(study.export(CELL) / DOCUMENT, PRETRAINING)
        yield CELL.name, CELL, study.runs / TRACK / PRETRAINING / made.header.run_id


def _measured_on(gathered: Gathered, name: str) -> list[DatasetFact]:
    """Sets of text and benchmarks that a cell was measured on."""
    found = {}
    for stage in ("eval_ppl", *ATTACKS):
        for path, digest in gathered.results[stage][name].header.inputs.items():
            *_, parent, own, _file = ("", "", *Path(path).parts)
            if parent == "tokens":
                found[own] = DatasetFact(
                    name=own, digest=digest, source=Path(path).parent.as_posix(), context="evaluation"
                )
    for task, body in gathered.results["eval_bench"][name].body["tasks"].items():
        found[task] = DatasetFact(
            name=task, digest=str(body["dataset_revision"]), source=f"benchmark {task}", context="evaluation"
        )
    return list(found.values())
