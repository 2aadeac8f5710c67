"""`trackyard site`: what is shown of a site, and what is refused before anything is submitted."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from trackyard.cli.site import app
from trackyard.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]
Ask = Callable[..., Result]


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ask:
    """In a repository with the shipped sites, in a shell without any variable of theirs."""
    for name in ("sites", "params.yaml", "catalog", "profiles", "containers"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    for name in ("TRACKYARD_SITE", "TRACKYARD_ACCOUNT", "SCRATCH", "PROJECT"):
        monkeypatch.delenv(name, raising=False)

    def call(*arguments: str, code: int = 0, **environment: str) -> Result:
        result = CliRunner().invoke(app, list(arguments), env=environment)
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == code, result.output
        return result

    return call


def told(result: Result) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_anvil_is_shown_with_limits_prices_and_what_is_set(ask: Ask) -> None:
    text = ask("show", "anvil", TRACKYARD_ACCOUNT="secret-project", SCRATCH="/anvil/scratch/me").stdout
    assert "account      of TRACKYARD_ACCOUNT, which is set here" in text
    assert "secret-project" not in text
    assert re.search(r"│ ai +│ +21 │ +4 h100 │ +96 │ +1000 │ +48 │ 12 GPUs a user", text)
    assert re.search(r"│ wide +│ +56 │ +none │ +128 │ +254 │ +12 │ 5 running, whole nodes", text)
    assert "train    asks for 1 x ai with 4 GPUs: 4 tasks of 24 cores, 457,763 MB on a node, 48:00 h; 4 service" in text
    assert "scratch  $SCRATCH, /anvil/scratch/me: 100.00 TB, 1,048,000 files, purged 30 days" in text
    assert "project  $PROJECT, NOT SET here: 5.00 TB" in text
    assert "on a login node: env -u TRACKYARD_SITE dvc repro STAGE" in text
    assert "which is NOT SET here" in ask("show", "anvil").stdout


@pytest.mark.parametrize("name", sorted(path.stem for path in (ROOT / "sites").glob("*.yaml")))
def test_every_shipped_site_is_shown_and_granted(ask: Ask, name: str) -> None:
    shown = told(ask("show", name, "--json"))
    assert (shown["schema"], shown["site"]["name"], shown["refused"]) == ("trackyard-site/1", name, [])
    assert shown["account_set"] is False
    checked = told(ask("check", name, "--json", TRACKYARD_ACCOUNT="mine"))
    assert checked["ok"]
    assert set(checked["jobs"]) == set(shown["jobs"])
    assert {job["request"]["account"] for job in checked["jobs"].values()} <= {"mine"}
    assert ask("show", name).stdout.startswith(f"site         {name}, ")


def test_the_site_of_the_environment_is_taken_else_the_local_one(ask: Ask) -> None:
    assert ask("show", TRACKYARD_SITE="anvil").stdout.startswith("site         anvil, slurm\n")
    assert ask("show").stdout.startswith("site         local, no scheduler\n")
    assert ask("check").stdout == "site local asks for nothing: it has no scheduler, or no shapes\n"


def test_check_settles_every_shape(ask: Ask) -> None:
    lines = ask("check", "anvil", TRACKYARD_ACCOUNT="mine").stdout.splitlines()
    assert [line.split()[:2] for line in lines[:-1]] == [["OK", "train"], ["OK", "gpu"], ["OK", "cpu"]]
    assert lines[-1].startswith("checked: the account, and GPUs")
    assert lines[-1].endswith("Slurm was not asked: trackyard doctor --site anvil")


def test_a_missing_account_is_refused_once(ask: Ask) -> None:
    result = ask("check", "anvil", code=2)
    assert result.stderr.count("TRACKYARD_ACCOUNT is not set") == 1
    assert result.stdout.count("OK ") == 3, "the sizes are possible, whoever pays"
    assert result.stdout.splitlines()[-1].startswith("checked: GPUs, nodes")
    (refused,) = told(ask("check", "anvil", "--json", code=2))["refused"]
    assert (refused["needs"], refused["exit_code"]) == ("account", 2)


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ("--nodes 4", "16 GPUs, 12 may be in use of one user"),
        ("--gpus-per-node 8 --tasks-per-node 8", "8 GPUs on a node, it has 4"),
        ("--minutes 3000", "3000 minutes, a job may take 2880"),
        ("--partition wholenode", "4 GPUs on a node, it has 0"),
        ("--cores-per-task 25", "100 cores on a node"),
        ("--memory-gb 1001", "1001 GB of memory on a node, it has 1000 GB"),
        ("--nodes 4 --minutes 3000", "16 GPUs, 12 may be in use of one user; 3000 minutes, a job may take 2880"),
    ],
)
def test_the_impossible_is_refused_and_what_is_named_instead_is_granted(ask: Ask, options: str, what: str) -> None:
    argv = ["check", "anvil", "--needs", "train", *options.split()]
    refused = ask(*argv, code=2, TRACKYARD_ACCOUNT="mine")
    assert what in refused.stderr
    assert refused.stdout == ""
    (command,) = re.findall(r"`trackyard site (check [^`]+)`", refused.stderr)
    granted = told(ask(*shlex.split(command), "--json", TRACKYARD_ACCOUNT="mine"))
    assert granted["ok"]
    assert list(granted["jobs"]) == ["train"]


def test_several_nodes_within_the_limit_are_granted(ask: Ask) -> None:
    argv = ["check", "anvil", "--needs", "train", "--nodes", "3", "--json"]
    job = told(ask(*argv, TRACKYARD_ACCOUNT="mine"))["jobs"]["train"]
    assert (job["request"]["nodes"], job["request"]["gpus_per_node"]) == (3, 4)
    assert (job["service_units_per_hour"], job["credits"]) == (12, "AI")


@pytest.mark.parametrize(
    ("argv", "what", "fix"),
    [
        (["check", "nowhere"], "there is no site 'nowhere'", "cp sites/slurm-template.yaml"),
        (["check", "anvil", "--needs", "tpu"], "--needs tpu", "--needs train"),
        (["check", "anvil", "--nodes", "2"], "nodes without --needs", "--needs train"),
        (["check", "anvil", "--needs", "network"], "needs the internet", "env -u TRACKYARD_SITE dvc repro"),
        (["check", "local", "--needs", "train"], "site local has no scheduler", "dvc repro"),
        (["check", "anvil", "--needs", "train", "--memory-gb", "0"], "memory_gb_per_node=0", "shapes.train"),
    ],
)
def test_wrong_use_is_refused(ask: Ask, argv: list[str], what: str, fix: str) -> None:
    with pytest.raises(ConfigError) as refused:
        ask(*argv, TRACKYARD_ACCOUNT="mine")
    assert what in refused.value.what
    assert fix in refused.value.fix


def test_an_unknown_partition_is_refused_with_those_there_are(ask: Ask) -> None:
    text = ask("check", "anvil", "--needs", "cpu", "--partition", "fast", code=2, TRACKYARD_ACCOUNT="mine").stderr
    assert "site anvil has no partition 'fast'" in text
    assert "it has ai, gpu, gpu-debug, shared, wholenode, wide, highmem, debug" in text


def test_a_site_file_whose_shape_is_impossible_says_so_where_it_is_shown(ask: Ask, tmp_path: Path) -> None:
    (tmp_path / "sites").unlink()
    (tmp_path / "sites").mkdir()
    text = (ROOT / "sites" / "anvil.yaml").read_text().replace("name: anvil", "name: mine")
    (tmp_path / "sites" / "mine.yaml").write_text(text.replace("minutes: 2880", "minutes: 2881"))
    result = ask("show", "mine", code=2)
    assert "2881 minutes, a job may take 2880" in result.stderr
    assert "cpu      asks for" in result.stdout
    assert "train    asks for" not in result.stdout


def test_all_tracks_overflow_anvil_and_are_refused(ask: Ask) -> None:
    """Pains 5: bytes and files for each file system, before anything is fetched."""
    found = told(ask("space", "anvil", "--json", code=1))
    systems = {one["name"]: one for one in found["file_systems"]}
    assert systems["scratch"]["bytes"] < 100e12
    (files,) = systems["scratch"]["problems"]
    assert files == f"{systems['scratch']['files']:,} files are needed, the quota is 1,048,000"
    (size,) = systems["project"]["problems"]
    assert size.endswith(" TB are needed, the quota is 5 TB")
    assert (systems["home"]["bytes"], systems["home"]["holdings"]) == (0, [])
    held = {one["name"]: one for one in systems["project"]["holdings"]}
    assert systems["project"]["bytes"] == sum(one["bytes"] or 0 for one in held.values())
    assert held["snapshots"]["bytes"] == held["snapshots, DVC's copy"]["bytes"] > 1e12
    # The report's recipe: 12 bytes of state for each of 4.85 billion trained parameters, two kept and one written.
    assert 150e9 < held["molmo2 stage3 (h100), checkpoints"]["bytes"] < 200e9
    assert held["image train"]["bytes"] is None, "it is not built here"
    assert {name.split()[0] for name in held} >= {"molmo2", "pile_ffn", "datacomp"}


def test_what_fits_is_said_and_what_lies_nowhere_is_refused(ask: Ask, tmp_path: Path) -> None:
    (tmp_path / "sites").unlink()
    (tmp_path / "sites").mkdir()
    text = (ROOT / "sites" / "anvil.yaml").read_text().replace("name: anvil", "name: mine")
    large = text.replace("quota_tb: 5,", "quota_tb: 50,").replace("max_files: 1048000, purged", "purged")
    (tmp_path / "sites" / "mine.yaml").write_text(large)
    shown = ask("space", "mine").stdout
    assert "DOES NOT FIT" not in shown
    assert re.search(r"^project, \$PROJECT$", shown, re.MULTILINE)
    assert shown.endswith("fits on site mine\n")
    assert "of unknown size, not counted: image train, " in shown
    (tmp_path / "sites" / "mine.yaml").write_text(large.replace("holds: [raw]", "holds: []"))
    with pytest.raises(ConfigError, match="does not say which file system holds 'raw'"):
        ask("space", "mine")
    (tmp_path / "sites" / "local.yaml").write_text((ROOT / "sites" / "local.yaml").read_text())
    with pytest.raises(ConfigError, match="partition here, whose device is any") as refused:
        ask("space", "local")
    assert "trackyard data plan all" in refused.value.fix
