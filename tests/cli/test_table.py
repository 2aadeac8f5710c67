"""`trackyard table` shows metrics.json of every finished stage, and what to type next."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.recipes.molmo2.test_outcome import RESULT
from trackyard.cli.table import table
from trackyard.errors import ConfigError, DataError
from trackyard.recipes.molmo2.outcome import stage_metrics
from trackyard.record.metrics_file import write_metrics


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "params.yaml").write_text("")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def metrics_of(root: Path, stage: str) -> Path:
    return root / "artifacts" / "molmo2" / stage / "metrics.json"


def test_finished_stages_and_the_next_command(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for stage in ("stage1", "stage2"):
        write_metrics(metrics_of(root, stage), {stage: stage_metrics(RESULT)})
    table("molmo2")
    lines = {line.split("│")[1].strip(): line for line in capsys.readouterr().out.splitlines() if "│" in line}
    for label, cell in (
        ("steps", "20"),
        ("tokens", "1,000"),
        ("padding", "6.2%"),
        ("training loss, first -> last", "4.000 -> 1.500"),
        ("validation loss", "3.500 -> 1.250"),
        ("counting accuracy", "25.0% -> 75.0%"),
        ("pointing F1", "not measured"),
    ):
        assert lines[label].count(cell) >= 2, lines[label]


def test_what_is_said_below_the_table(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_metrics(metrics_of(root, "stage3"), {"stage3": stage_metrics(RESULT)})
    table("molmo2")
    said = capsys.readouterr().out
    assert "by chance: counting 0.125 (4 examples)\n" in said
    assert said.endswith("next: make ui\n")


def test_numbers_of_an_earlier_form_are_refused(root: Path) -> None:
    earlier: dict[str, Any] = {"steps": 20, "loss": {"first": 4.0, "last": 1.5}}
    path = metrics_of(root, "stage1")
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(earlier))
    with pytest.raises(DataError, match="another schema"):
        table("molmo2")


def test_numbers_of_another_stage_are_refused(root: Path) -> None:
    write_metrics(metrics_of(root, "stage1"), {"stage2": stage_metrics(RESULT)})
    with pytest.raises(DataError, match="has stage2, and no 'stage1'"):
        table("molmo2")


def test_another_track_is_not_said_to_have_no_result(root: Path) -> None:
    with pytest.raises(ConfigError, match="no table of 'nine'"):
        table("nine")


def test_nothing_to_show(root: Path) -> None:
    with pytest.raises(DataError, match="has a result"):
        table("molmo2")
