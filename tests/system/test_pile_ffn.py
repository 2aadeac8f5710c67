"""The Pile-FFN study as a new user runs it: clone, reproduce, look. One study serves every test of this file."""

from __future__ import annotations

import re
import shutil
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.system.agreement import disagreements
from tests.system.commands import digests, run
from tests.system.everything import Everything
from trackyard.errors import DataError
from trackyard.recipes.pile_ffn.cells import BASELINE, UNTOUCHED, Cell
from trackyard.recipes.pile_ffn.parameters import load_pile_ffn
from trackyard.recipes.pile_ffn.report.aggregating import REPORT, SUMMARY
from trackyard.recipes.pile_ffn.report.gathering import declared
from trackyard.recipes.pile_ffn.results import DOCUMENT, Result, read_result
from trackyard.recipes.pile_ffn.study import ARTIFACTS, Study
from trackyard.record.metrics_file import read_metrics

pytestmark = pytest.mark.system

PIPELINE = "pipelines/pile_ffn/dvc.yaml"
SCHEMA = re.compile(rb'"schema": *"trackyard-pile-ffn-(\w+)/1"')
UNCHANGED = re.compile(r"Stage '([^']+)' didn't change")
RUNNING = re.compile(r"Running stage '([^']+)'")
BLANK = 2.0
"""Standard deviation of grey values [0, 255] below which an image shows nothing."""


@dataclass(frozen=True, kw_only=True)
class Done:
    """A clone in which the study ran. out: what `dvc repro` printed."""

    clone: Path
    study: Study
    out: str

    def read(self, stage: str, cell: Cell) -> Result:
        return read_result(self.study.document(stage, cell), stage)

    def body(self, stage: str, cell: Cell) -> Any:
        return self.read(stage, cell).body

    def summary(self) -> Any:
        return read_result(self.study.artifacts / "results" / SUMMARY, "aggregate").body

    def nll(self, arm: str, seed: int | None) -> float:
        return float(self.body("eval_ppl", Cell(arm=arm, seed=seed))["nll"])


@pytest.fixture(scope="module")
def done(everything: Everything) -> Done:
    """What `make demo-all` left of the study."""
    clone = everything.clone
    parameters = load_pile_ffn(clone / "params.yaml")
    return Done(clone=clone, study=Study(root=clone, parameters=parameters), out=everything.out_of(PIPELINE))


def stages(study: Study) -> set[str]:
    """Names of all stages of the pipeline, as DVC prints them."""
    parameters = study.parameters
    names = ["estimate", "fetch", "tokenize", "untouched", "init", "transfer", "aggregate"]
    names += [f"train@{cell.name}" for cell in parameters.trained_cells]
    names += [f"degrade@{variant}" for variant in parameters.degraded]
    names += [f"{stage}@{arm}" for stage in ("evaluate", "attack") for arm in parameters.measured]
    return {f"{PIPELINE}:{name}" for name in names}


def times(folder: Path) -> dict[str, int]:
    """When each file was last written [ns]."""
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def shows_something(path: Path) -> bool:
    with Image.open(path) as image:
        image.load()
        return bool(np.asarray(image.convert("L")).std() > BLANK and min(image.size) >= 200)


def test_every_stage_ran_and_the_table_has_every_arm(done: Done) -> None:
    assert set(RUNNING.findall(done.out)) == stages(done.study)
    table = done.out[done.out.rindex("Running stage") :]
    assert "aggregate" in table.splitlines()[0]
    for arm in done.study.parameters.measured:
        assert re.search(rf"^\W*{arm}\s.*\d\.\d", table, re.M), f"no row of {arm} in:\n{table}"
    # Two seeds are shipped, and a claim needs three.
    assert table.count("no claim: 2 seeds where 3 are needed") == sum(
        arm.startswith("nonneg_") for arm in done.study.parameters.arms
    )


def test_every_result_file_is_whole(done: Done) -> None:
    paths = sorted((done.clone / ARTIFACTS).rglob(DOCUMENT))
    for path in paths:
        schema = SCHEMA.search(path.read_bytes())
        assert schema is not None, path
        header = read_result(path, schema[1].decode()).header
        assert header.globally_monotonic is False
    expected = {
        done.study.document(stage, cell) for stage, cells in declared(done.study).items() for cell in cells.values()
    }
    assert len(expected) == 6 + 12 + 2 + 5 * 15 + 2
    assert expected < set(paths)
    assert done.summary()["examined"]["results"] == len(expected)


def test_an_altered_result_is_refused(done: Done, tmp_path: Path) -> None:
    """What the test above would say of a file that somebody edited."""
    original = done.study.document("eval_ppl", Cell(arm=BASELINE, seed=42))
    text, copy = original.read_text(), tmp_path / DOCUMENT
    copy.write_text(text)
    read_result(copy, "eval_ppl")
    copy.write_text(re.sub(r'("ppl": )\d', r"\g<1>0", text, count=1))
    assert copy.read_text() != text
    with pytest.raises(DataError, match="was altered after it was written"):
        read_result(copy, "eval_ppl")


def test_report_and_figures(done: Done, tmp_path: Path) -> None:
    results = done.study.artifacts / "results"
    report = (results / REPORT).read_text()
    drawn = sorted(results.glob("*.png"))
    assert len(drawn) >= 4
    assert {path.name for path in drawn} == set(re.findall(r"\]\((\w+\.png)\)", report))
    assert [path.name for path in drawn if not shows_something(path)] == []
    assert all(arm in report for arm in done.study.parameters.measured)
    blank = tmp_path / "blank.png"
    Image.new("RGB", (800, 600), "white").save(blank)
    assert not shows_something(blank)


def test_the_made_model_learned_and_constraining_it_costs(done: Done) -> None:
    made = done.study.parameters.model.made
    assert made is not None
    assert np.exp(done.nll(UNTOUCHED, None)) < made.vocabulary / 10
    for seed in done.study.parameters.seeds:
        for arm in done.study.parameters.arms:
            if arm.startswith("nonneg_"):
                assert done.nll(arm, seed) > done.nll(BASELINE, seed), (arm, seed)


def test_controls_are_as_bad_as_their_arms(done: Done) -> None:
    """By what the stage says, and by the exports themselves."""
    from trackyard.recipes.pile_ffn.arms.validating import val_nll
    from trackyard.recipes.pile_ffn.measures.exports import load_exact

    (variant,) = done.study.parameters.degraded
    for seed in done.study.parameters.seeds:
        control, arm = Cell(arm=f"degraded_{variant}", seed=seed), Cell(arm=f"nonneg_{variant}", seed=seed)
        said = done.body("degrade", control)["nll"]
        assert abs(said - done.body("train", arm)["final"]["val_nll"]) <= 0.01
        assert val_nll(done.study, load_exact(done.study, control)) == pytest.approx(said, abs=1e-4)
        # Without noise they would not be.
        baseline = done.body("train", Cell(arm=BASELINE, seed=seed))["final"]["val_nll"]
        assert said - baseline > 0.02


def test_arms_of_a_seed_have_one_plan_and_seeds_have_two(done: Done) -> None:
    plans = {
        seed: {done.body("train", cell)["plan"] for cell in done.study.parameters.trained_cells if cell.seed == seed}
        for seed in done.study.parameters.seeds
    }
    assert {len(found) for found in plans.values()} == {1}
    assert len(set.union(*plans.values())) == len(plans) == 2


def test_what_is_constrained_moved(done: Done) -> None:
    steps, examined = done.study.parameters.training.steps, dict[str, int]()
    for cell in done.study.parameters.trained_cells:
        body = done.body("train", cell)
        last = [row for row in body["audit"] if row["step"] == steps]
        assert min(row["changed"] for row in last) > 0, cell
        changed = [row["changed"] for row in last if row["constrained"]]
        examined[cell.arm] = len(changed)
        if changed:
            assert np.median(changed) >= 0.99, cell
            assert body["movement"][-1] == {
                "step": steps,
                "median_changed": pytest.approx(np.median(changed)),
                "small_share": pytest.approx(0.5, abs=0.5),
            }
    # absinit declares its matrices too: it starts from their magnitudes.
    expected = dict.fromkeys(done.study.parameters.arms, 4) | {"baseline": 0, "nonneg_mlp_in": 2}
    assert examined == expected


def test_mlflow_has_the_runs_by_arm_with_their_scores(done: Done) -> None:
    query = (
        "SELECT arm.value, run.value, m.value FROM tags arm JOIN tags run ON run.run_uuid = arm.run_uuid "
        "LEFT JOIN latest_metrics m ON m.run_uuid = arm.run_uuid AND m.key = 'test/ppl' "
        "JOIN runs r ON r.run_uuid = arm.run_uuid JOIN experiments e USING (experiment_id) "
        "WHERE arm.key = 'trackyard.arm' AND run.key = 'trackyard.run_id' AND e.name = 'pile_ffn'"
    )
    with closing(sqlite3.connect(f"file:{done.clone / 'mlflow.db'}?mode=ro", uri=True)) as connection:
        stored = {run_id: (arm, ppl) for arm, run_id, ppl in connection.execute(query)}
    for cell in done.study.parameters.trained_cells:
        arm, ppl = stored[done.read("train", cell).header.run_id]
        assert arm == cell.arm
        assert ppl == pytest.approx(done.body("eval_ppl", cell)["ppl"])
    # The pretraining of the made model is the one run that no arm is measured by.
    assert len(stored) - len(done.study.parameters.trained_cells) in (0, 1)


def test_metrics_json_is_what_mlflow_shows(done: Done) -> None:
    metrics = read_metrics(done.study.artifacts / "results" / "metrics.json")
    runs, database = done.clone / "runs" / "pile_ffn", done.clone / "mlflow.db"
    for cell in done.study.parameters.trained_cells:
        directory = runs / "train" / done.read("train", cell).header.run_id
        assert disagreements(metrics[cell.name], directory, database) == [], cell
    (whole,) = (runs / "study").iterdir()
    assert disagreements(metrics["study"], whole, database) == []


def test_repro_again_does_nothing(done: Done) -> None:
    artifacts, runs = done.clone / "artifacts", done.clone / "runs"
    before = (digests(artifacts), times(artifacts), times(runs))
    text = run(["dvc", "repro", PIPELINE], done.clone).stdout
    assert RUNNING.findall(text) == []
    assert set(UNCHANGED.findall(text)) == stages(done.study)
    assert (digests(artifacts), times(artifacts), times(runs)) == before
    assert len(before[0]) > 100


def test_one_cell_named_alone_does_nothing(done: Done) -> None:
    name = f"{PIPELINE}:train@{BASELINE}-42"
    text = run(["dvc", "repro", name], done.clone).stdout
    assert RUNNING.findall(text) == []
    assert name in UNCHANGED.findall(text)
    assert f"{PIPELINE}:aggregate" not in text


def test_the_iterations_of_attacks_make_attacks_stale_and_no_training(done: Done) -> None:
    path = done.clone / "params.yaml"
    original = path.read_text()
    path.write_text(original.replace("iterations: 10,", "iterations: 11,", 1))
    assert load_pile_ffn(path).attacks.allowed.iterations == 11
    try:
        # What decides each stage is stated by this one.
        run(["dvc", "repro", f"{PIPELINE}:estimate"], done.clone)
        text = run(["dvc", "repro", "--dry", PIPELINE], done.clone).stdout
    finally:
        path.write_text(original)
        run(["dvc", "repro", f"{PIPELINE}:estimate"], done.clone)
    parameters = done.study.parameters
    stale = {"transfer", "aggregate", *(f"attack@{arm}" for arm in parameters.measured)}
    assert set(RUNNING.findall(text)) == {f"{PIPELINE}:{name}" for name in stale}
    assert set(UNCHANGED.findall(text)) == stages(done.study) - set(RUNNING.findall(text))


def test_a_removed_result_comes_back_without_being_measured_again(done: Done) -> None:
    cells, parts = done.study.parameters.cells_of(BASELINE), ("eval_ppl", "eval_bench", "probe_order")
    places = [done.study.document(part, cell) for part in parts for cell in cells]
    before, kept = [path.read_bytes() for path in places], times(done.clone / "runs" / "pile_ffn" / "measured")
    for path in places:
        shutil.rmtree(path.parent)
    run(["trackyard", "run", "pile_ffn", "evaluate", BASELINE], done.clone)
    # wall_s is among the bytes: another measurement would have another.
    assert [path.read_bytes() for path in places] == before
    assert times(done.clone / "runs" / "pile_ffn" / "measured") == kept
    assert len(places) == 6
    assert sum(BASELINE in name for name in kept) >= len(places)
    text = run(["dvc", "repro", PIPELINE], done.clone).stdout
    assert RUNNING.findall(text) == []


def test_an_arm_that_is_none_is_refused_with_the_list(done: Done) -> None:
    ended = run(["trackyard", "run", "pile_ffn", "evaluate", "nonsense"], done.clone, check=False)
    assert ended.returncode == 2
    assert "'nonsense' is not one of them" in ended.stderr
    assert f"evaluate is about {', '.join(done.study.parameters.measured)}" in ended.stderr
    assert "trackyard run pile_ffn evaluate untouched" in ended.stderr
    assert "Traceback" not in ended.stderr
