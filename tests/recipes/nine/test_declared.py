"""What decides each stage is a file, which changes when and only when that does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.recipes.nine.tiny_nine import TASKS, Told, study_at, write_definitions
from trackyard.errors import ConfigError
from trackyard.recipes.nine.declared import SCHEMA, declare
from trackyard.recipes.nine.parameters import SECTIONS
from trackyard.schema import read_document


def declared(root: Path, changes: dict[str, Any] | None = None) -> dict[str, bytes]:
    study, told = study_at(root, changes), Told()
    declare(study, told)
    assert all(name in told[0] for name in study.tasks)
    return {path.stem: path.read_bytes() for path in (study.artifacts / "parameters").glob("*.json")}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_definitions(tmp_path)
    return tmp_path


def test_there_is_one_for_each_stage_with_its_parameters_code_and_libraries(root: Path) -> None:
    assert set(declared(root)) == set(SECTIONS)
    body = read_document(root / "artifacts/nine/parameters/accuracy.json", SCHEMA, fix="-")
    assert body["results"]["accuracy"]["tasks"] == list(TASKS)
    assert set(body["results"]["accuracy"]["accuracy"]) == {"most_failed", "most_capped"}
    assert {"torch", "transformers", "pycocoevalcap"} <= set(body["libs"])
    assert body["code"]


@pytest.mark.parametrize(
    ("changes", "others"),
    [
        ({}, set()),
        ({"threads": 2, "accuracy.batch": 9}, set()),
        ({"partial": True}, {"compare"}),
        ({"accuracy.most_failed": 3}, {"accuracy", "compare"}),
        ({"data.seed": 3}, set(SECTIONS)),
    ],
)
def test_only_what_is_decided_changes(root: Path, changes: dict[str, Any], others: set[str]) -> None:
    before, after = declared(root), declared(root, changes)
    assert {stage for stage in SECTIONS if before[stage] != after[stage]} == others


def test_an_unknown_task_is_found_before_anything_runs(root: Path) -> None:
    with pytest.raises(ConfigError, match="no task 'tally'; did you mean 'tally_qa'"):
        declared(root, {"tasks": ["tally"]})
