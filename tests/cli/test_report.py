"""`trackyard report`: of what is there, or of the tracks that are named."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from tests.recipes.overview.made_tracks import make_molmo2
from trackyard.cli.report import report
from trackyard.errors import ConfigError, DataError

app = typer.Typer()
app.command()(report)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    make_molmo2(tmp_path, ["stage1"])
    (tmp_path / "params.yaml").write_text("{}")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_what_is_there(root: Path) -> None:
    done = CliRunner().invoke(app, ["--out", "shown"])
    assert done.exit_code == 0, done.output
    assert "absent    molmo2 stage2 and stage3: dvc repro stage3" in done.stdout
    assert done.stdout.splitlines()[-1] == "shown/index.html, and report.md, metrics.json, runs.csv beside it"
    assert (root / "shown" / "index.html").is_file()


def test_a_track_that_is_named_must_be_whole(root: Path) -> None:
    assert isinstance(CliRunner().invoke(app, ["--track", "molmo2"]).exception, DataError)
    assert isinstance(CliRunner().invoke(app, ["--track", "other"]).exception, ConfigError)
    assert not (root / "report").exists()
