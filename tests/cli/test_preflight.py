"""`trackyard data verify --models`: a profile says which study is checked, and the report lies with that track."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from trackyard.cli.data.preflight import preflight
from trackyard.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with the shipped profiles and catalogue, and an empty cache."""
    for name in ("profiles", "catalog", "sites", "params.yaml", "requirements.lock"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    return tmp_path


def test_a_profile_of_theworld_is_checked_as_such(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        preflight(profile="theworld-10k", pile=False, quick=True, full=False, offline=True, as_json=False)
    assert ended.value.code == 1
    text = capsys.readouterr().out
    assert "3,125 steps of 16 samples" in text
    assert "artifacts/datacomp/preflight.json" in text.splitlines()[-1]
    found = json.loads((root / "artifacts" / "datacomp" / "preflight.json").read_text())
    rows = {row["name"]: row for row in found["rows"]}
    assert (rows["parameters"]["state"], rows["network"]["state"]) == ("passed", "skipped")
    # Nothing was fetched, and without a network nothing can be.
    assert rows["language model"]["state"] == rows["image VAE"]["state"] == "failed"
    assert not found["proved"]


def test_the_pile_study_is_not_looked_for_in_another_profile(root: Path) -> None:
    with pytest.raises(ConfigError, match=r"theworld-10k.yaml: pile_ffn"):
        preflight(profile="theworld-10k", pile=True, quick=True, full=False, offline=True, as_json=False)
    with pytest.raises(ConfigError, match="--quick and --full together"):
        preflight(profile=None, pile=True, quick=True, full=True, offline=True, as_json=False)
