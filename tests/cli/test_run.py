"""`trackyard run all`: options that would have no effect are refused, and not passed over."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from trackyard.cli.run import run
from trackyard.errors import ConfigError

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
