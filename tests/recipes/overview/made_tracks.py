"""A small repository with results of all tracks, each written by what writes them in a run, with known numbers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import trackyard
from tests.recipes.datacomp.report import made_results as datacomp
from tests.recipes.nine.report.made_sweep import LEVELS, SWEEP, TASKS, made_result, made_scores
from tests.recipes.pile_ffn import made_results as pile_ffn
from trackyard.digest import digest_file, digest_json
from trackyard.plan.build import build_plan
from trackyard.plan.inputs import DatasetInput, PlanInputs
from trackyard.plan.mixture_parameters import MixtureParameters
from trackyard.plan.packing import Budget
from trackyard.plan.plan import Plan
from trackyard.recipes.datacomp.report.comparing import compare
from trackyard.recipes.molmo2.outcome import stage_metrics
from trackyard.recipes.nine.declared import SCHEMA as DECLARED
from trackyard.recipes.nine.report import comparing as nine_report
from trackyard.recipes.nine.report.gathering import put_together
from trackyard.recipes.nine.report.metrics import summary
from trackyard.recipes.nine.results import DOCUMENT, Header, write_result
from trackyard.recipes.overview.nine import STAGES
from trackyard.recipes.pile_ffn.report.aggregating import aggregate
from trackyard.recipes.pile_ffn.study import MADE
from trackyard.record.code import CodeIdentity
from trackyard.record.identity import RunSpec
from trackyard.record.lineage.data import DataSet, rows
from trackyard.record.lineage.document import names_in, write_lineage
from trackyard.record.lineage.origins import Origins, Parent
from trackyard.record.metrics_file import FILE, write_metrics
from trackyard.record.rundir import RunDirectory, open_or_create
from trackyard.record.spool import Spool
from trackyard.schema import write_document
from trackyard.snapshot.manifest import FileEntry, Manifest

SEEDS = (42, 1337)
SOURCE = Path(trackyard.__file__).parents[2]
CODE = CodeIdentity(commit="c" * 40, dirty_digest=None)
STEPS = {"stage1": 9, "stage2": 7, "stage3": 5}
COUNTING = {"stage1": 0.25, "stage2": 0.5, "stage3": 0.625}
"""Accuracy at the end of a stage."""
CHANCE, EXAMPLES = 0.2, 64
SETS = ("charts", "clips")
NINE = TASKS[3:5]
MADE_TASK = "hellaswag"
"""Of the benchmarks of pile_ffn, the one whose items are made."""


def make_all(root: Path) -> None:
    make_molmo2(root)
    make_pile_ffn(root)
    make_datacomp(root)
    make_nine(root)


def make_pile_ffn(root: Path) -> None:
    study = pile_ffn.made_study(root, seeds=SEEDS)

    def name_items(stage: str, name: str, body: dict[str, Any]) -> None:
        for task, found in body["tasks"].items() if stage == "eval_bench" else ():
            found["dataset"] = MADE if task == MADE_TASK else f"hub/{task}"

    pile_ffn.write_study(study, name_items)
    aggregate(study, _silent)


def make_datacomp(root: Path) -> None:
    study = datacomp.made_study(root, seeds=SEEDS)

    def name_source(result: str, cell: str, body: dict[str, Any]) -> None:
        if result == "eval_data":
            body["source"] = MADE

    datacomp.write_study(study, name_source)
    compare(study, _silent)


def make_nine(root: Path) -> None:
    """Two data sets, nine configurations; files as the last stage puts them out. Titles are those of the repository."""
    for name in ("tasks", "catalog"):
        (root / name).symlink_to(SOURCE / name)
    levels = LEVELS[::3]
    measured = [made_result(task, level) for task in NINE for level in levels]
    keys = tuple(dict.fromkeys(result.key for result in measured))
    gathered = put_together(replace(SWEEP, keys=keys), NINE, measured, made_scores)
    results = root / "artifacts" / "nine" / "results"
    found, warned, _ = nine_report.put_out(gathered, results, resamples=100)
    parameters = {"data": {"fixture": {"seed": 0}}}
    declared = results.parent / "parameters" / "compare.json"
    declared.parent.mkdir()
    write_document(declared, DECLARED, {"results": {"compare": parameters}})
    header = Header(
        spec_digest=digest_json(parameters), git_commit=CODE.commit, image_digest="none", libs={}, model="d" * 64,
        inputs={}, device="a processor", wall_s=36.0,
    )  # fmt: skip
    for stage in STAGES:
        body = {"training": None} if stage == "model" else {}
        write_result(results.parent / stage / DOCUMENT, stage, header, body)
    accuracy = results.parent / "accuracy" / DOCUMENT
    read = {accuracy.relative_to(root).as_posix(): digest_file(accuracy)}
    body = {
        "watermark": gathered.watermark,
        "warnings": warned,
        "data_sets": summary(found),
        "best": {each.task.name: each.best.key for each in found},
        "as_good": {each.task.name: list(each.as_good) for each in found},
    }
    write_result(results / DOCUMENT, "compare", replace(header, inputs=read), body)


def make_molmo2(root: Path, stages: Sequence[str] = tuple(STEPS)) -> None:
    """Stages of random weights and made numbers; plans, runs, spools and lineages are real."""
    sets = {name: make_snapshot(root / "data" / "mini" / name) for name in SETS}
    parent: tuple[Path, RunSpec] | None = None
    for stage in stages:
        plan = _plan(root, STEPS[stage])
        spec = RunSpec(
            track="molmo2", stage=stage, parameters={"steps": STEPS[stage]}, plan=plan.fingerprint,
            model={"start": "made"}, snapshots={name: found.fingerprint for name, found in sets.items()},
            parent=None if parent is None else parent[1].run_id, code=CODE, image=None, seed=0,
        )  # fmt: skip
        origins = Origins(
            root=root, spec=spec, plan=plan.directory, snapshots=sets, models={},
            parent=None if parent is None else Parent(directory=parent[0], taken=("model.safetensors",)),
        )  # fmt: skip
        run = open_or_create(root / "runs", spec)
        run.link_plan(plan.directory, plan.fingerprint)
        result = stage_result(stage, plan)
        write_document(run.result, "trackyard-result/1", {"run_id": spec.run_id, **result})
        write_spool(run, result)
        folder = root / "artifacts" / "molmo2" / stage
        export = folder / "export"
        export.mkdir(parents=True)
        (export / "model.safetensors").write_text(f"weights of {stage}")
        write_lineage(export, origins, files=names_in(export))
        write_metrics(folder / FILE, {stage: stage_metrics(result)})
        (folder / "curves.csv").write_text(
            "step,loss\n" + "".join(f"{step},{loss}\n" for step, loss in result["curve"])
        )
        parent = export, spec


def make_snapshot(directory: Path) -> DataSet:
    shard = directory / "train" / "0.parquet"
    shard.parent.mkdir(parents=True)
    shard.write_bytes(b"PAR1" + directory.name.encode() * 50)
    entry = FileEntry(path="train/0.parquet", bytes=shard.stat().st_size, rows=1, blake3=digest_file(shard))
    Manifest(
        dataset=directory.name, source={"generator": "trackyard.acquire.mini"}, licence="CC-BY-SA-4.0",
        splits={"train": 1}, files=(entry,), exclusions={},
    ).write(directory)  # fmt: skip
    return rows(directory)


def _plan(root: Path, steps: int) -> Plan:
    def data(name: str, count: int) -> DatasetInput:
        tokens = np.random.default_rng(count).integers(20, 400, count)
        return DatasetInput(
            manifest_fingerprint=f"manifest-{name}", index_fingerprint=f"index-{name}", rows=np.arange(count),
            tokens=tokens, visual=tokens // 2, inputs=np.ones(count, dtype=np.int64), labels=tokens // 4, excluded={},
        )  # fmt: skip

    inputs = PlanInputs(
        datasets={"charts": data("charts", 10), "clips": data("clips", 90)}, mixture=MixtureParameters(kind="sqrt"),
        budget=Budget(tokens=1000, inputs=12), packs_per_step=4, steps=steps, seed=3,
    )  # fmt: skip
    return build_plan(inputs=inputs, cache=root / "artifacts" / "plans")


def stage_result(stage: str, plan: Plan) -> dict[str, Any]:
    totals = plan.summary["totals"]

    def validation(loss: float, value: float) -> dict[str, Any]:
        score = {"value": value, "chance": CHANCE, "examples": EXAMPLES, "unparsed": 0}
        return {"loss": loss, "loss_rows": 9, "scores": {"counting": score}}

    curve = [[step, 3.0 / step] for step in range(1, STEPS[stage] + 1)]
    return {
        "steps": STEPS[stage], "tokens": totals["tokens"], "visual_tokens": totals["visual_tokens"],
        "rows": totals["rows"], "padding": totals["padding_fraction"], "skipped_steps": 1 if stage == "stage2" else 0,
        "loss": {"first": curve[0][1], "last": curve[-1][1]},
        "validation": {"start": validation(2.0, 0.125), "trained": validation(0.5, COUNTING[stage])},
        "seconds": 12.0, "curve": curve,
    }  # fmt: skip


def write_spool(run: RunDirectory, result: dict[str, Any]) -> None:
    """An attempt that says what it ran on."""
    with Spool(run.spool, run.new_attempt()) as spool:
        spool.machine(2, "a processor", "node")
        for step, loss in result["curve"]:
            spool.metrics({"train/loss": loss, "train/skipped": 0.0}, step)
        spool.status("finished")


def read_numbers(path: Path) -> dict[str, Any]:
    """A JSON document as it is."""
    return json.loads(path.read_bytes())  # type: ignore[no-any-return]


def _silent(line: str) -> None:
    return
