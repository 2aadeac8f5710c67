"""`trackyard feed`: what it refuses, before anything heavy is imported. The pages: tests/system/test_feed_view.py."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from trackyard.cli.feed import app
from trackyard.errors import ConfigError


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["stage9"], "no stage 'stage9'"),
        (["stage2", "--dataset", "tulu"], "--dataset or --split without --snapshot"),
        (["stage2", "--split", "validation"], "--dataset or --split without --snapshot"),
    ],
)
def test_refusals(arguments: list[str], what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "params.yaml").write_text("molmo2: {}\n")
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["view", *arguments])
    assert isinstance(done.exception, ConfigError)
    assert done.exception.what == what
    assert list(tmp_path.iterdir()) == [tmp_path / "params.yaml"]
