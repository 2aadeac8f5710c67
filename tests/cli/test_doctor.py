"""`trackyard doctor`: a truthful table of this machine, as text and as a document, with an exit code for each end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from trackyard.cli.doctor import doctor
from trackyard.cli.unlock import unlock
from trackyard.cli.wanted import wanted
from trackyard.errors import ConfigError
from trackyard.launch.doctor.checks import exit_code
from trackyard.launch.preflight import Report, Row
from trackyard.launch.sites import load_site

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with the shipped sites, profiles and catalogue, and no network."""
    for name in ("profiles", "catalog", "sites", "params.yaml", "requirements.lock"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / ".dvc" / "tmp").mkdir(parents=True)
    (tmp_path / ".dvc" / "config").write_text("")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("TRACKYARD_COMMIT", "ab" * 20)
    for name in ("TRACKYARD_SITE", "TRACKYARD_LOCKS", "MLFLOW_TRACKING_URI", "SLURM_JOB_ID"):
        # Set first, so that what a command sets is gone with the test.
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    return tmp_path


def diagnosed(capsys: pytest.CaptureFixture[str], **options: Any) -> tuple[int, dict[str, Any]]:
    given = {"site": None, "stage": None, "as_json": True} | options
    with pytest.raises(SystemExit) as ended:
        doctor(**given)
    assert isinstance(ended.value.code, int)
    return ended.value.code, json.loads(capsys.readouterr().out)


@pytest.mark.usefixtures("root")
def test_the_document_of_this_machine(capsys: pytest.CaptureFixture[str]) -> None:
    code, found = diagnosed(capsys, stage="molmo2/stage1")
    assert found["schema"] == "trackyard-doctor/1"
    assert (found["site"], found["stage"], found["exit_code"]) == ("local", "molmo2/stage1", code)
    rows = {row["name"]: row for row in found["rows"]}
    assert sum(found["totals"].values()) == len(rows) == len(found["rows"])
    assert {name: rows[name]["state"] for name in ("python", "torch", "locks of runs", "locks of DVC", "clock")} == {
        "python": "passed", "torch": "passed", "locks of runs": "passed", "locks of DVC": "passed", "clock": "passed",
    }  # fmt: skip
    assert "molmo2/stage1 keeps" in rows["space"]["detail"]
    assert (rows["network"]["state"], rows["slurm"]["state"]) == ("skipped", "skipped")
    for row in found["rows"]:
        assert row["detail"], row
        assert bool(row["fix"]) == (row["state"] in ("warned", "failed")), row
    codes = {row["exit_code"] for row in found["rows"] if row["state"] == "failed"}
    assert code == (0 if not codes else 3 if codes == {3} else 1)


@pytest.mark.usefixtures("root")
def test_the_table_for_a_reader(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        doctor(site="local", stage=None, as_json=False)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("OK   python")
    assert lines[-1].startswith("site local: ")
    assert any(line.startswith("skip slurm") for line in lines)


@pytest.mark.usefixtures("root")
def test_a_cluster_from_a_machine_that_is_none(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("SCRATCH", raising=False)
    monkeypatch.delenv("TRACKYARD_ACCOUNT", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("TRACKYARD_SITE", "anvil")
    code, found = diagnosed(capsys)
    rows = {row["name"]: row for row in found["rows"]}
    assert found["site"] == "anvil"
    assert {rows[name]["state"] for name in ("slurm", "partitions", "account", "scratch")} == {"failed"}
    # The account is ours to set; with that alone lacking it would not be the environment.
    assert (rows["slurm"]["exit_code"], rows["account"]["exit_code"], code) == (3, 2, 1)


@pytest.mark.usefixtures("root")
def test_what_does_not_exist_is_refused() -> None:
    for options, what in (
        ({"site": "nowhere"}, "no site 'nowhere'"),
        ({"stage": "stage1"}, "--for stage1"),
        ({"stage": "molmo2/stage9"}, "no stage 'stage9'"),
    ):
        with pytest.raises(ConfigError, match=what):
            doctor(**({"site": None, "stage": None, "as_json": True} | options))  # type: ignore[arg-type]


def failed(code: int) -> Row:
    return Row(name="x", state="failed", detail="", examined=0, fetched=0, seconds=0.0, exit_code=code)


@pytest.mark.parametrize(("codes", "wanted"), [((), 0), ((3,), 3), ((3, 3), 3), ((3, 1), 1), ((2,), 1), ((1,), 1)])
def test_exit_codes(codes: tuple[int, ...], wanted: int) -> None:
    warned = Row(name="w", state="warned", detail="", examined=0, fetched=0, seconds=0.0)
    assert exit_code(Report(rows=(warned, *map(failed, codes)))) == wanted


def test_what_a_stage_takes(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = load_site("local", root)
    stage = wanted(root, site, "molmo2/stage1")
    assert stage.bytes > 0
    assert (stage.files, stage.gated) == (None, ())
    study = wanted(root, site, "pile_ffn/study")
    assert study.files is not None
    assert study.files > 0
    assert study.bytes > 0


def test_what_is_gated_is_named_until_it_is_here(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(root / "hf"))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    site = load_site("local", root)
    (root / "params.yaml").unlink()
    (root / "params.yaml").symlink_to(ROOT / "profiles" / "theworld-10k.yaml")
    assert wanted(root, site, "datacomp/train").gated == ("google/gemma-3-4b-it",)


def test_unlock_says_what_it_sees(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    unlock(remove=True)
    assert "ends with its owner" in capsys.readouterr().out
    (root / ".dvc" / "config.local").write_text("[core]\n    hardlink_lock = true\n")
    unlock(remove=False)
    assert capsys.readouterr().out == "DVC holds no lock here\n"
    (root / ".dvc" / "tmp" / "lock").write_text("")
    with pytest.raises(SystemExit) as ended:
        unlock(remove=False)
    assert ended.value.code == 1
    assert "to remove: trackyard unlock --remove" in capsys.readouterr().out
    unlock(remove=True)
    assert capsys.readouterr().out.endswith("removed .dvc/tmp/lock\n")
    assert not (root / ".dvc" / "tmp" / "lock").exists()
