import re
from dataclasses import replace
from pathlib import Path

import pytest

from tests.recipes.pile_ffn.made_results import made_study, run_directory, write_one, write_study
from trackyard.recipes.pile_ffn.arms.original import CELL
from trackyard.recipes.pile_ffn.cells import Cell
from trackyard.recipes.pile_ffn.report.gathering import gather
from trackyard.recipes.pile_ffn.report.metrics import (
    all_metrics,
    cell_metrics,
    record_metrics,
    record_whole,
    study_metrics,
)
from trackyard.recipes.pile_ffn.report.table import tabulate
from trackyard.recipes.pile_ffn.study import Study
from trackyard.record.facts import events, status
from trackyard.record.metrics_file import read_metrics, write_metrics
from trackyard.record.points import PointCensus, undelivered
from trackyard.record.spool import SpoolPart, read_spool

BASELINE = Cell(arm="baseline", seed=42)


@pytest.fixture
def study(tmp_path: Path) -> Study:
    study = made_study(tmp_path, seeds=(42, 1337))
    write_study(study)
    return study


def parts(path: Path) -> dict[str, SpoolPart]:
    return {spool.name: read_spool(spool) for spool in sorted((path / "spool").glob("attempt-*.jsonl"))}


def delivered(path: Path) -> list[tuple[str, int, float]]:
    """What a sync would send."""
    lines = undelivered(parts(path), {}, PointCensus())
    return [(point.key, point.step, point.value) for line in lines for point in line.points]


def test_numbers_of_a_cell(study: Study) -> None:
    found = cell_metrics(gather(study), BASELINE.name)
    assert found["test/nll"] == pytest.approx(1.9)
    assert found["bench/hellaswag"] == pytest.approx(0.305)
    assert found["attack/uat/delta_nats"] == pytest.approx(0.32)
    assert set(found) == {
        "test/nll", "test/ppl", "test/bpb", "bench/hellaswag", "bench/lambada_openai", "chance/bench/hellaswag",
        "examples/bench/hellaswag", "examples/bench/lambada_openai",
        *(f"attack/{name}/delta_nats" for name in (
            "uat", "random_trigger", "hotflip_one_shot", "hotflip_greedy", "random_flips", "query",
        )),
    }  # fmt: skip


def test_a_repeated_aggregation_adds_nothing(study: Study) -> None:
    path = run_directory(study, BASELINE)
    assert "test/nll" not in [key for key, _, _ in delivered(path)]
    assert record_metrics(study, gather(study)) == (11, [])
    once = delivered(path)
    assert ("train/loss", 1, 2.0) in once
    assert [step for key, step, _ in once if key == "test/nll"] == [0]
    assert status(parts(path))[0] == "FINISHED"
    assert record_metrics(study, gather(study)) == (11, [])
    assert delivered(path) == once
    # Training, the place in the study, the numbers.
    assert len(parts(path)) == 3


def test_numbers_that_were_measured_anew_stand_beside_the_earlier_ones(study: Study) -> None:
    record_metrics(study, gather(study))
    write_one(study, "eval_ppl", BASELINE.name, BASELINE, change=lambda stage, name, body: body.update(ppl=6.5))
    record_metrics(study, gather(study))
    found = [(step, value) for key, step, value in delivered(run_directory(study, BASELINE)) if key == "test/ppl"]
    assert [step for step, _ in found] == [0, 1]
    assert found[1][1] == 6.5


def test_runs_that_are_not_on_this_machine_are_named(study: Study) -> None:
    path = run_directory(study, BASELINE)
    path.rename(path.with_name("elsewhere"))
    assert record_metrics(study, gather(study)) == (10, [BASELINE.name])


def test_a_run_says_where_it_belongs_and_what_it_was_measured_on(study: Study) -> None:
    record_metrics(study, gather(study))
    for cell in (BASELINE, CELL):
        told = parts(run_directory(study, cell))
        tags = {key: value for event in events(told, "tag") for key, value in event["values"].items()}
        assert tags == {
            "trackyard.arm": cell.arm,
            "trackyard.seed": str(cell.seed or 0),
            "trackyard.group": f"{study.group}/arm {cell.arm}",
        }
        data = {event["name"]: event["context"] for event in events(told, "dataset")}
        assert data == dict.fromkeys(("test", "hellaswag", "lambada_openai"), "evaluation")
    assert re.fullmatch(r"study [0-9a-f]{8}", study.group)


def test_the_group_is_that_of_the_study_whatever_its_arms_and_seeds(tmp_path: Path, study: Study) -> None:
    fewer = made_study(
        tmp_path, seeds=(7,), arms=["baseline"], degraded=[], measured=["untouched", "baseline"],
        training={"learning_rates": {"baseline": 1e-3}},
    )  # fmt: skip
    assert fewer.group == study.group
    other = study.parameters.training.model_copy(update={"steps": 7})
    assert replace(study, parameters=study.parameters.model_copy(update={"training": other})).group != study.group


def test_the_file_holds_every_cell_and_what_the_spool_holds(study: Study, tmp_path: Path) -> None:
    gathered = gather(study)
    rows = tabulate(gathered, study.parameters.cells, resamples=50)
    write_metrics(tmp_path / "metrics.json", all_metrics(gathered, rows))
    read = read_metrics(tmp_path / "metrics.json")
    assert set(read) == {"study", *study.parameters.cells}
    assert read["baseline-42"]["validation/loss"] == pytest.approx(1.9)
    assert "train/loss" not in read["degraded_mlp_both-42"]
    record_metrics(study, gathered)
    spooled = {key: value for key, _, value in delivered(run_directory(study, BASELINE))}
    measured = {name: value for name, value in read["baseline-42"].items() if name in spooled}
    assert {name: spooled[name] for name in measured} == measured | {"train/loss": 2.0}
    assert "attack/uat/delta_nats" in measured


def test_the_study_is_a_run_with_its_figures(study: Study, tmp_path: Path) -> None:
    gathered = gather(study)
    rows = tabulate(gathered, study.parameters.cells, resamples=50)
    results = study.artifacts / "results"
    results.mkdir(parents=True)
    (results / "report.md").write_text("# A study")
    for _ in range(2):
        run_id = record_whole(study, gathered, rows, results, ["report.md"])
    path = study.runs / "pile_ffn" / "study" / run_id
    told = parts(path)
    assert len(told) == 2, "telling again adds nothing"
    assert {key: value for key, _, value in delivered(path)} == study_metrics(rows)
    tags = {key: value for event in events(told, "tag") for key, value in event["values"].items()}
    assert tags == {"trackyard.group": study.group, "trackyard.metrics": "artifacts/pile_ffn/results/metrics.json"}
    assert (path / "results" / "report.md").read_text() == "# A study"
    assert study_metrics(rows)["test/baseline/ppl"] == pytest.approx(rows[1].ppl.mean)
