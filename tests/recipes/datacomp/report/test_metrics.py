"""Numbers of a comparison stand beside the curves of the run whose weights they are of, and in metrics.json."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.recipes.datacomp.report.made_results import made_study, run_directory, write_study
from trackyard.recipes.datacomp.cells import Cell
from trackyard.recipes.datacomp.report.gathering import gather
from trackyard.recipes.datacomp.report.metrics import (
    all_metrics,
    cell_metrics,
    outcome_of,
    record_metrics,
    record_whole,
    study_metrics,
)
from trackyard.recipes.datacomp.report.table import tabulate
from trackyard.recipes.datacomp.study import Study
from trackyard.record.facts import events
from trackyard.record.metrics_file import read_metrics, write_metrics
from trackyard.record.spool import SpoolPart, read_spool

WORLD, SOFT = Cell(name="world", seed=42), Cell(name="soft_prompt", seed=42)


@pytest.fixture
def study(tmp_path: Path) -> Study:
    study = made_study(tmp_path, seeds=(42,))
    write_study(study)
    return study


def parts(path: Path) -> dict[str, SpoolPart]:
    return {spool.name: read_spool(spool) for spool in sorted((path / "spool").glob("attempt-*.jsonl"))}


def spooled(path: Path) -> dict[str, float]:
    """The last value of every key."""
    return {key: value for event in events(parts(path), "metrics") for key, value in event["values"].items()}


def test_a_run_has_the_scores_of_all_arms_of_its_weights_once(study: Study) -> None:
    gathered = gather(study)
    found = outcome_of(study, gathered, WORLD)
    assert found["eval/captions/accuracy"] == pytest.approx(54 / 60)
    assert found["eval/zero_latents/captions/accuracy"] == pytest.approx(19 / 60)
    controls = ("zero_latents", "shuffled_latents", "no_world_tokens")
    own = {f"eval/{name}/accuracy" for name in ("vsr", "captions")}
    assert {name for name in found if name.startswith("eval/")} == own | {
        f"eval/{arm}/{name}/accuracy" for arm in controls for name in ("vsr", "captions")
    }
    soft = outcome_of(study, gathered, SOFT)
    assert soft == cell_metrics(study, gathered, SOFT.label)
    assert {name for name in soft if name.startswith("eval/")} == own, "the same names, so that runs are compared"
    for _ in range(2):
        assert record_metrics(study, gathered) == (2, [])
    told = [event["values"] for event in events(parts(run_directory(study, WORLD)), "metrics")]
    assert told == [{"train/loss": 2.0}, found]
    path = run_directory(study, SOFT)
    path.rename(path.with_name("elsewhere"))
    assert record_metrics(study, gathered) == (1, ["soft_prompt-42"])


def test_a_run_says_where_it_belongs(study: Study) -> None:
    record_metrics(study, gather(study))
    told = parts(run_directory(study, SOFT))
    tags = {key: value for event in events(told, "tag") for key, value in event["values"].items()}
    assert tags == {
        "trackyard.arm": "soft_prompt",
        "trackyard.seed": "42",
        "trackyard.group": f"{study.group}/arm soft_prompt",
    }
    assert re.fullmatch(r"study [0-9a-f]{8}", study.group)


def test_the_group_is_that_of_the_study_whatever_its_seeds(study: Study, tmp_path: Path) -> None:
    assert made_study(tmp_path, seeds=(1, 2)).group == study.group
    assert made_study(tmp_path, evaluation__resamples=300).group != study.group


def test_the_file_holds_every_cell_and_what_the_spool_holds(study: Study, tmp_path: Path) -> None:
    gathered = gather(study)
    rows = tabulate(gathered, study.parameters)
    write_metrics(tmp_path / "metrics.json", all_metrics(study, gathered, rows))
    read = read_metrics(tmp_path / "metrics.json")
    assert set(read) == {"study", *study.parameters.evaluated}
    assert read["world-42"]["train/supervised_tokens"] == 40_000
    assert not any(name.startswith("train/") for name in read["zero_latents-42"])
    record_metrics(study, gathered)
    found = spooled(run_directory(study, WORLD))
    measured = {name: value for name, value in read["world-42"].items() if not name.startswith("train/")}
    assert {name: found[name] for name in measured} == measured
    assert found["eval/zero_latents/vsr/accuracy"] == read["zero_latents-42"]["eval/vsr/accuracy"]


def test_the_study_is_a_run_with_its_figures(study: Study) -> None:
    gathered = gather(study)
    rows = tabulate(gathered, study.parameters)
    results = study.artifacts / "results"
    results.mkdir(parents=True)
    (results / "report.md").write_text("# A study")
    for _ in range(2):
        run_id = record_whole(study, gathered, rows, results, ["report.md"])
    path = study.runs / "datacomp" / "study" / run_id
    assert len(parts(path)) == 2, "telling again adds nothing"
    assert spooled(path) == study_metrics(rows)
    assert spooled(path)["eval/world/captions/accuracy"] == pytest.approx(54 / 60)
    tags = {key: value for event in events(parts(path), "tag") for key, value in event["values"].items()}
    assert tags == {"trackyard.group": study.group, "trackyard.metrics": "artifacts/datacomp/results/metrics.json"}
