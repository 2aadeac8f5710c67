"""`trackyard run`: what is wrong is refused before it becomes a job, and options without effect are not passed over."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from tests.system.commands import ROOT
from trackyard.cli.run import run
from trackyard.errors import ConfigError
from trackyard.launch import executor

app = typer.Typer()
app.command()(run)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (["compare", "--processes", "4"], "--processes 4"),
        (["compare", "--params", "profiles/report.yaml"], "--params profiles/report.yaml"),
        (["train"], "no stage 'train' of all tracks"),
        (["compare", "world-42"], "no stage 'compare world-42' of all tracks"),
    ],
)
def test_what_all_tracks_have_not_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: list[str], named: str
) -> None:
    (tmp_path / "params.yaml").write_text("{}")
    monkeypatch.chdir(tmp_path)
    error = CliRunner().invoke(app, ["all", *given]).exception
    assert isinstance(error, ConfigError)
    assert error.what == named
    assert error.fix == "trackyard run all compare"
    assert [path.name for path in tmp_path.iterdir()] == ["params.yaml"]


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (["nine", "accuracy", "--shard", "4/4"], "'4/4' is no part of the work"),
        (["datacomp", "latents", "--shard", "1-4"], "'1-4' is no part of the work"),
        (["pile_ffn", "tokenize", "--shard", ""], "'' is no part of the work"),
        (["pile_ffn", "train", "nothing-1"], "'nothing-1' is not one of them"),
        (["pile_ffn", "fetch", "x"], "'x' is not one of them"),
        (["datacomp", "train"], "none is given"),
        (["datacomp", "nothing"], "no stage 'nothing' of track datacomp"),
        (["molmo2", "stage1", "x"], "no stage 'stage1 x' of track 'molmo2'"),
        (["molmo2", "stage1", "--params", "profiles/nothing.yaml"], "nothing.yaml"),
        (["nine", "accuracy", "--processes", "2"], "--processes 2 with the track nine"),
        (["nothing", "stage1"], "no track 'nothing'"),
    ],
)
def test_what_would_fail_in_a_job_becomes_none(monkeypatch: pytest.MonkeyPatch, given: list[str], named: str) -> None:
    error, jobs = _at_a_site(monkeypatch, given)
    assert isinstance(error, ConfigError)
    assert named in error.what
    assert jobs == []


@pytest.mark.parametrize(
    "given",
    [
        ["nine", "accuracy", "--shard", "3/4"],
        ["pile_ffn", "transfer"],
        ["datacomp", "latents"],
        ["molmo2", "stage2", "--processes", "2"],
        ["all", "compare"],
    ],
)
def test_what_is_right_runs_where_the_site_says(monkeypatch: pytest.MonkeyPatch, given: list[str]) -> None:
    error, jobs = _at_a_site(monkeypatch, given)
    assert isinstance(error, SystemExit)
    assert error.code == 7
    assert jobs == [(given[0], given[1], None, given[2:])]


def _at_a_site(
    monkeypatch: pytest.MonkeyPatch, given: list[str]
) -> tuple[BaseException | None, list[tuple[str, str, str | None, list[str]]]]:
    """Of this repository, where every stage is a job that ends with 7: how the command ended, and what became jobs."""
    jobs: list[tuple[str, str, str | None, list[str]]] = []

    def run_elsewhere(root: Path, track: str, stage: str, item: str | None, options: list[str], **_: object) -> int:
        jobs.append((track, stage, item, options))
        return 7

    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(executor, "run_elsewhere", run_elsewhere)
    return CliRunner().invoke(app, given).exception, jobs
