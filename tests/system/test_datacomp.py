"""The DataComp track as a new user runs it: clone, reproduce, look. One study serves every test of this file."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open

from tests.system.agreement import disagreements
from tests.system.commands import run
from tests.system.everything import PERSON, SECRET, Everything
from trackyard.recipes.datacomp.cells import BASE, CONTROLS, NO_WORLD, WORLD, Cell
from trackyard.recipes.datacomp.parameters import load_datacomp
from trackyard.recipes.datacomp.results import DOCUMENT, Result, read_result
from trackyard.recipes.datacomp.study import ARTIFACTS, EVALUATIONS, Study
from trackyard.record.code import code_identity
from trackyard.record.metrics_file import read_metrics
from trackyard.runner import SystemRunner

pytestmark = pytest.mark.system

PIPELINE = "pipelines/datacomp/dvc.yaml"
UNCHANGED = re.compile(r"Stage '([^']+)' didn't change")
RUNNING = re.compile(r"Running stage '([^']+)'")
BLANK = 2.0
"""Standard deviation of grey values [0, 255] below which an image shows nothing."""
PLANNED = {"http_404", "http_410", "http_403", "http_429", "http_5xx", "not_image", "truncated", "too_small", "opt_out"}
"""Some of the failures that the mini source plans."""


@dataclass(frozen=True, kw_only=True)
class Done:
    """A clone in which the track ran. out: what `dvc repro` printed."""

    clone: Path
    study: Study
    out: str

    def body(self, result: str, cell: Cell | None = None) -> Any:
        return read_result(self.study.document(result, cell), result).body

    def summary(self) -> Any:
        return read_result(self.study.artifacts / "results" / "summary.json", "compare").body

    def accuracy(self, arm: str, seed: int | None, name: str) -> float:
        return float(self.body(EVALUATIONS[name], Cell(name=arm, seed=seed))["accuracy"])


@pytest.fixture(scope="module")
def done(everything: Everything) -> Done:
    """What `make demo-all` left of the track, run with secrets in its environment."""
    clone = everything.clone
    parameters = load_datacomp(clone / "params.yaml")
    return Done(clone=clone, study=Study(root=clone, parameters=parameters), out=everything.out_of(PIPELINE))


def stages(study: Study) -> set[str]:
    """Names of all stages of the pipeline, as DVC prints them."""
    parameters = study.parameters
    names = ["estimate", "metadata", "select", "download", "models", "eval_data", "curate", "latents", "eval_latents"]
    names += [f"train@{label}" for label in parameters.trained_cells]
    names += [f"evaluate@{arm}" for arm in parameters.arms]
    return {f"{PIPELINE}:{name}" for name in [*names, "compare"]}


def test_every_stage_ran_and_the_table_has_every_arm(done: Done) -> None:
    assert set(RUNNING.findall(done.out)) == stages(done.study)
    table = done.out[done.out.rindex("Running stage") :]
    assert "compare" in table.splitlines()[0]
    for arm in done.study.parameters.arms:
        assert re.search(rf"^\W*{arm}\s.*\d", table, re.M), f"no row of {arm} in:\n{table}"


def test_nothing_is_run_twice(done: Done) -> None:
    again = run(["dvc", "repro", PIPELINE], done.clone).stdout
    assert not RUNNING.findall(again)
    assert set(UNCHANGED.findall(again)) == stages(done.study)


def test_metrics_json_is_what_mlflow_shows(done: Done) -> None:
    metrics = read_metrics(done.study.artifacts / "results" / "metrics.json")
    runs, database = done.clone / "runs" / "datacomp", done.clone / "mlflow.db"
    for label, cell in done.study.parameters.trained_cells.items():
        header = read_result(done.study.document("train", cell), "train").header
        assert disagreements(metrics[label], runs / "train" / header.run_id, database) == [], label
    (whole,) = (runs / "study").iterdir()
    assert disagreements(metrics["study"], whole, database) == []


def test_every_row_has_one_outcome(done: Done) -> None:
    metadata, found, curated = done.body("metadata"), done.body("download"), done.body("curate")
    assert found["attempted"] == found["ok"] + sum(found["causes"].values()) <= metadata["rows"]
    assert set(found["causes"]) >= PLANNED
    removed = sum(curated["removed"].values())
    assert curated["kept"] == done.study.parameters.data.samples
    assert removed + curated["kept"] <= found["ok"]


def test_the_world_branch_carries_information(done: Done) -> None:
    """The mini's claim: with the latents of another image, or none, the same weights know nothing."""
    margin = done.study.parameters.evaluation.least_margin
    assert margin is not None
    for seed in done.study.parameters.seeds:
        ours = done.accuracy(WORLD, seed, "captions")
        for control in (*CONTROLS, BASE):
            theirs = done.accuracy(control, None if control == BASE else seed, "captions")
            assert ours >= theirs + margin, (seed, control)


def test_without_its_tokens_a_trained_model_is_the_base_model(done: Done) -> None:
    for name, result in EVALUATIONS.items():
        base = done.body(result, Cell(name=BASE, seed=None))["predictions_digest"]
        for seed in done.study.parameters.seeds:
            assert done.body(result, Cell(name=NO_WORLD, seed=seed))["predictions_digest"] == base
            for arm in (WORLD, *CONTROLS):
                if arm != NO_WORLD:
                    assert done.body(result, Cell(name=arm, seed=seed))["predictions_digest"] != base, (name, arm)


def test_what_was_trained_is_counted_and_is_all_that_is_saved(done: Done) -> None:
    for label, cell in done.study.parameters.trained_cells.items():
        body = done.body("train", cell)
        with safe_open(done.study.export(cell) / "model.safetensors", "np") as file:
            saved = sum(file.get_tensor(name).size for name in file.keys())  # noqa: SIM118 - no mapping
        assert saved == body["expected"] == sum(body["counts"].values()), label
        assert body["audits"], label


def test_results_are_whole(done: Done) -> None:
    found: list[Result] = []
    for path in sorted((done.clone / ARTIFACTS).rglob(DOCUMENT)):
        schema = re.search(rb'"schema": *"trackyard-datacomp-([\w-]+)/1"', path.read_bytes())
        assert schema is not None, path
        found.append(read_result(path, schema[1].decode()))
    cells = len(done.study.parameters.evaluated)
    assert len(found) >= cells * (1 + len(EVALUATIONS)) - cells + len(done.study.parameters.trained_cells)
    assert {result.header.git_commit for result in found} == {code_identity(done.clone, SystemRunner()).commit}


def test_figures_show_something_and_every_export_has_a_card(done: Done) -> None:
    figures = sorted((done.study.artifacts / "results").rglob("*.png"))
    assert figures
    for path in figures:
        with Image.open(path) as image:
            image.load()
            assert np.asarray(image.convert("L")).std() > BLANK, path
    for cell in done.study.parameters.trained_cells.values():
        card = (done.study.artifacts / "card" / cell.path / "README.md").read_text()
        assert str(done.body("download")["attempted"]) in card.replace(",", "")


def test_mlflow_has_every_training(done: Done) -> None:
    with closing(sqlite3.connect(done.clone / "mlflow.db")) as database:
        names = database.execute(
            "select count(*) from runs join experiments using (experiment_id) where experiments.name = 'datacomp'"
        ).fetchone()
    assert names[0] >= len(done.study.parameters.trained_cells)


def test_no_secret_and_no_person_is_in_any_output(done: Done) -> None:
    """Negative control: the same search finds a word that belongs there."""
    wanted = (SECRET.encode(), PERSON.encode(), str(Path.home()).encode() + b"/", b"tiny-gemma3")
    hits = dict.fromkeys(wanted, 0)
    examined = 0
    for folder in ("artifacts", "runs", "mlartifacts", "mlflow.db", "dvc.lock", "pipelines"):
        place = done.clone / folder
        for path in [place] if place.is_file() else sorted(place.rglob("*")):
            if path.is_file():
                data, examined = path.read_bytes(), examined + 1
                for word in wanted:
                    hits[word] += word in data
    assert examined > 100
    assert hits.pop(b"tiny-gemma3") > 10
    assert set(hits.values()) == {0}, hits
    assert SECRET not in done.out


def test_a_wrong_arm_is_refused_with_the_command_that_works(done: Done) -> None:
    ended = run(["trackyard", "run", "datacomp", "evaluate", "nonsense"], done.clone, check=False)
    assert ended.returncode == 2
    assert "trackyard run datacomp evaluate base_gemma" in ended.stderr
