"""`trackyard compare`, as people type it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from tests.record.made_runs import Life, make_run
from trackyard.cli.compare import compare
from trackyard.errors import ConfigError
from trackyard.record.rundir import RunDirectory

RUNNER = CliRunner()
APP = typer.Typer()
APP.command()(compare)


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[list[RunDirectory]]:
    """Two seeds, in a root that is the current directory."""
    (tmp_path / "params.yaml").write_text("{}")
    before = Path.cwd()
    os.chdir(tmp_path)
    yield [
        make_run(Path("runs"), Life(metrics=[(5, {"validation/loss": 1.0 + seed})], machine=1), seed=seed)
        for seed in (1, 2)
    ]
    os.chdir(before)


def told(*arguments: str) -> str:
    done = RUNNER.invoke(APP, arguments, catch_exceptions=False)
    assert done.exit_code == 0
    return done.output


def test_two_runs(runs: list[RunDirectory]) -> None:
    text = told(runs[0].spec.run_id, str(runs[1].path))
    assert f"2 molmo2/stage2/{runs[1].spec.run_id}" in text
    assert [line.split() for line in text.splitlines() if line.strip().startswith("seed ")] == [["seed", "1", "2"]]
    assert "validation/loss (nats per token)" in text
    assert "validation: no samples of it are compared, and one seed each: no claim" in text


def test_two_tracks_say_so(runs: list[RunDirectory]) -> None:
    other = make_run(Path("runs"), Life(metrics=[(5, {"test/nll": 1.0})]), track="other")
    assert "runs of 2 tracks, molmo2, other: only metrics of all are shown" in told(
        runs[0].spec.run_id, other.spec.run_id
    )


def test_a_track_and_both_documents(runs: list[RunDirectory]) -> None:
    assert "molmo2: 2 runs" in told("--track", "molmo2")
    table = json.loads(told("--track", "molmo2", "--stage", "stage2", "--metric", "validation/loss", "--json"))
    assert [row["seeds"] for row in table["rows"]] == [[1, 2]]
    document = json.loads(told(*(run.spec.run_id for run in runs), "--json"))
    assert document["schema"] == table["schema"] == "trackyard-comparison/1"
    assert document["outcomes"][0]["values"] == [2.0, 3.0]


def test_what_parameters_say_is_printed_as_it_stands(runs: list[RunDirectory]) -> None:
    marked = [
        make_run(Path("runs"), Life(), parameters={"data": text}) for text in ("hub:art:latest", "[bold]hub:art:[/]")
    ]
    text = told(*(run.spec.run_id for run in marked))
    assert "hub:art:latest" in text
    assert "[bold]hub:art:[/]" in text


@pytest.mark.parametrize(
    "arguments", [[], ["a", "--track", "molmo2"], ["a", "b", "--stage", "s"], ["a", "b", "--metric", "m"]]
)
def test_neither_and_both_are_wrong_usage(runs: list[RunDirectory], arguments: list[str]) -> None:
    with pytest.raises(ConfigError, match="--track") as raised:
        RUNNER.invoke(APP, arguments, catch_exceptions=False)
    assert raised.value.exit_code == 2


def test_an_unknown_run_is_wrong_usage(runs: list[RunDirectory]) -> None:
    with pytest.raises(ConfigError, match="no run zzzz") as raised:
        RUNNER.invoke(APP, [runs[0].spec.run_id, "zzzz"], catch_exceptions=False)
    assert raised.value.exit_code == 2
    assert "nearest of 2 runs" in raised.value.why
