from pathlib import Path

import pytest

from tests.recipes.pile_ffn.made_results import made_study, run_directory, write_one, write_study
from trackyard.recipes.pile_ffn.cells import Cell
from trackyard.recipes.pile_ffn.report.gathering import gather
from trackyard.recipes.pile_ffn.report.metrics import cell_metrics, record_metrics
from trackyard.recipes.pile_ffn.study import Study
from trackyard.record.facts import status
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
        "test/nll", "test/ppl", "test/bpb", "bench/hellaswag", "bench/lambada_openai",
        *(f"attack/{name}/delta_nats" for name in (
            "uat", "random_trigger", "hotflip_one_shot", "hotflip_greedy", "random_flips", "query",
        )),
    }  # fmt: skip


def test_a_repeated_aggregation_adds_nothing(study: Study) -> None:
    path = run_directory(study, BASELINE)
    assert "test/nll" not in [key for key, _, _ in delivered(path)]
    assert record_metrics(study, gather(study)) == (10, [])
    once = delivered(path)
    assert ("train/loss", 1, 2.0) in once
    assert [step for key, step, _ in once if key == "test/nll"] == [0]
    assert status(parts(path))[0] == "FINISHED"
    assert record_metrics(study, gather(study)) == (10, [])
    assert delivered(path) == once
    assert len(parts(path)) == 2


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
    assert record_metrics(study, gather(study)) == (9, [BASELINE.name])
