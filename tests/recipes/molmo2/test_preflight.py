"""The preflight of a stage: what is right passes, each thing that is wrong is named, and all of them at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from trackyard.acquire.mini.datasets import MINI
from trackyard.catalog.entries import load_catalogue
from trackyard.launch.preflight import Report
from trackyard.parameters import parse_parameters
from trackyard.recipes.molmo2.parameters import Molmo2Parameters
from trackyard.recipes.molmo2.preflight import run_preflight
from trackyard.row import Turn
from trackyard.snapshot.writer import write_dataset

ROOT = Path(__file__).parents[3]
DATASETS = ("cosyn-point", "pixmo-cap", "pixmo-count", "pixmo-points", "tulu")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository root with the five datasets of stage 1, a few rows each."""
    root = tmp_path_factory.mktemp("root")
    for name in DATASETS:
        rows = (MINI[name].row("train", number) for number in range(6))
        write_dataset(root / "data/mini" / name, {"train": rows}, dataset=name, source={"from": "tests"}, licence="CC0")
    return root


Change = Callable[[dict[str, Any]], None]


def preflight(root: Path, change: Change = lambda molmo2: None, *, degree: int = 1) -> Report:
    molmo2 = yaml.safe_load((ROOT / "profiles/mini.yaml").read_text())["molmo2"]
    change(molmo2)
    parameters = parse_parameters(Molmo2Parameters, molmo2, where="test")
    known = load_catalogue(ROOT / "catalog")
    return run_preflight(parameters, "stage1", root, catalogue=known, context_parallel=degree)


def failures(report: Report) -> dict[str, str]:
    return {row.name: row.detail for row in report.rows if row.state == "failed"}


def test_what_is_right_passes_and_every_check_says_how_much_it_looked_at(root: Path) -> None:
    report = preflight(root)
    assert failures(report) == {}
    assert report.ok
    assert {row.name for row in report.rows if row.state == "skipped"} == {"context parallel"}
    examined = {row.name: row.examined for row in report.rows if row.state == "passed"}
    assert examined["mixture names"] == examined["mixture rates"] == examined["one pack"] == 5
    assert examined["rows"] == 30
    assert all(count > 0 for count in examined.values())


def _misspell(molmo2: dict[str, Any]) -> None:
    ratios = molmo2["stage1"]["mixture"]["ratios"]
    ratios["captions"] = {"pixmo-capp": 0.6}


def _too_small(molmo2: dict[str, Any]) -> None:
    molmo2["stage1"]["max_inputs"] = 1


def _frames(molmo2: dict[str, Any]) -> None:
    molmo2["stage1"]["video"] |= {"fit": "error", "max_frames": 128}


def _batch(molmo2: dict[str, Any]) -> None:
    molmo2["engine"]["micro_batch"] = 3


@pytest.mark.parametrize(
    ("change", "check", "text"),
    [
        (_misspell, "mixture names", "pixmo-capp (did you mean pixmo-cap?)"),
        (_too_small, "budgets", "an image of"),
        (_frames, "budgets", "max_frames=128"),
        (_batch, "batch", "3"),
    ],
)
def test_what_is_wrong_is_named(root: Path, change: Change, check: str, text: str) -> None:
    assert text in failures(preflight(root, change))[check]


def test_a_dataset_that_is_absent_is_a_failure_only_where_all_are_asked_for(root: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/mini").mkdir()
    for name in DATASETS[1:]:
        (tmp_path / "data/mini" / name).symlink_to(root / "data/mini" / name)
    assert failures(preflight(tmp_path)) == {}

    def strict(molmo2: dict[str, Any]) -> None:
        molmo2["strict"] = True

    found = failures(preflight(tmp_path, strict))
    assert set(found) == {"mixture names", "mixture rates"}
    assert "cosyn-point" in found["mixture names"]


def test_a_degree_that_divides_nothing_is_refused(root: Path) -> None:
    assert "context parallel" in failures(preflight(root, degree=3))


def test_all_failures_are_listed(root: Path) -> None:
    def wrong(molmo2: dict[str, Any]) -> None:
        _misspell(molmo2)
        _too_small(molmo2)
        _batch(molmo2)

    assert {"mixture names", "budgets", "batch"} <= set(failures(preflight(root, wrong)))
    assert {"mixture names", "budgets", "context parallel"} <= set(failures(preflight(root, wrong, degree=3)))


def test_a_damaged_shard_and_rows_without_answers_are_found(root: Path, tmp_path: Path) -> None:
    data = tmp_path / "data/mini"
    data.mkdir(parents=True)
    for name in DATASETS[1:4]:
        (data / name).symlink_to(root / "data/mini" / name)
    silent = (
        replace(
            MINI["tulu"].row("train", number),
            conversations=((Turn(role="user", content="So?"), Turn(role="assistant", content="")),),
        )
        for number in range(3)
    )
    write_dataset(data / "tulu", {"train": silent}, dataset="tulu", source={"from": "tests"}, licence="CC0")
    rows = (MINI["cosyn-point"].row("train", number) for number in range(3))
    write_dataset(data / "cosyn-point", {"train": rows}, dataset="cosyn-point", source={"from": "tests"}, licence="CC0")
    found = failures(preflight(tmp_path))
    assert set(found) == {"rows"}
    assert "tulu (" in found["rows"]
    shard = next((data / "cosyn-point").rglob("*.parquet"))
    shard.write_bytes(shard.read_bytes()[:-100])
    assert "bytes, expected" in failures(preflight(tmp_path))["shards"]
