"""`trackyard publish`: nothing is written over, and nothing is sent unless it is asked for."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.publish.hub_server import REPO, Hub, files, serving
from trackyard.cli.publish import app
from trackyard.errors import ConfigError
from trackyard.publish.checksums import write_checksums
from trackyard.publish.upload import TOKEN


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "params.yaml").write_text("{}\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_card_is_not_written_over_another_page(root: Path) -> None:
    (root / "README.md").write_text("# Of the repository\n")
    done = CliRunner().invoke(app, ["card", "molmo2/stage3", "--out", "README.md"])
    assert isinstance(done.exception, ConfigError)
    assert done.exception.what == "README.md exists"
    assert (root / "README.md").read_text() == "# Of the repository\n"


def test_a_push_is_a_dry_run_unless_it_is_asked_for(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TOKEN, "hf_" + "Command" * 5)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    (root / "out").mkdir()
    (root / "out" / "README.md").write_text("# A card\n")
    write_checksums(root / "out")

    def push(hub: Hub, *more: str) -> str:
        done = CliRunner().invoke(app, ["push", "out", "--repo", REPO, "--endpoint", hub.url, *more])
        assert done.exit_code == 0, done.exception
        return done.stdout

    with serving() as hub:
        assert "nothing was sent" in push(hub)
        assert hub.seen == []
        push(hub, "--really")
        assert hub.commits == [files(root / "out")]
