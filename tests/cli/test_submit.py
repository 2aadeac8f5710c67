"""`trackyard submit`: dry runs from the plan alone, submissions to a scheduler that is a fake, refusals."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from typer.testing import CliRunner, Result

from tests.launch.jobs.dvc_world import SITE, copied, dvc, git, make_repository
from tests.launch.slurm.fake_slurm import FakeSlurm
from trackyard import runner
from trackyard.cli.submit import submit
from trackyard.errors import ConfigError, TrackyardError
from trackyard.launch.charges import service_units_per_hour
from trackyard.launch.chosen import SITE_VARIABLE
from trackyard.launch.sites import load_site
from trackyard.launch.slurm.batch import Request

ROOT = Path(__file__).resolve().parents[2]
Ask = Callable[..., Result]


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch) -> Ask:
    monkeypatch.delenv(SITE_VARIABLE, raising=False)
    monkeypatch.delenv("TRACKYARD_ACCOUNT", raising=False)
    app = typer.Typer()
    app.command()(submit)

    def call(*arguments: str) -> Result:
        result = CliRunner().invoke(app, list(arguments))
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == 0, result.output
        return result

    return call


def told(result: Result) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(result.output)
    assert found["schema"] == "trackyard-submission/1"
    return found


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stages, profiles and sites of this repository, without its data, and without any run."""
    root: Path = tmp_path_factory.mktemp("shipped")
    for name in ("profiles", "sites"):
        (root / name).symlink_to(ROOT / name)
    for name in ("params.yaml", "requirements.lock", "dvc.yaml", "data.dvc"):
        shutil.copy(ROOT / name, root / name)
    shutil.copytree(ROOT / "pipelines", root / "pipelines")
    git(root, "init", "--quiet")
    dvc(root, "init", "--quiet")
    git(root, "add", "requirements.lock")
    git(root, "-c", "user.name=Toy", "-c", "user.email=toy@example.org", "commit", "--quiet", "--message", "lock")
    return root


@pytest.mark.parametrize(
    ("partition", "profile", "credits"), [("gpu", "a100-40", "GPU"), ("ai", "h100", "AI")], ids=["gpu", "ai"]
)
def test_cost_and_chain_of_the_full_recipe_on_anvil_are_printed_from_the_plan_alone(
    shipped: Path, ask: Ask, monkeypatch: pytest.MonkeyPatch, partition: str, profile: str, credits: str
) -> None:
    monkeypatch.chdir(shipped)
    monkeypatch.setenv("PATH", os.pathsep.join(("/usr/bin", "/bin")))
    asked = ("stage3", "--dry-run", "--force", "--site", "anvil", "--partition", partition, "--profile", profile)
    found = told(ask(*asked, "--json"))
    assert [job["name"] for job in found["jobs"]] == ["stage1", "stage2", "stage3"]
    price = service_units_per_hour(
        load_site("anvil", ROOT).partitions[partition], Request(**found["jobs"][0]["request"])
    )
    assert price is not None
    for job in found["jobs"]:
        estimate = job["estimate"]
        assert job["request"]["partition"] == partition
        assert estimate["credits"] == credits
        assert estimate["service_units"] == pytest.approx(price * estimate["hours"])
        # Of 48 h a job loses its start and the time to save.
        assert (estimate["lives"] - 1) * 48 < estimate["hours"] < estimate["lives"] * 48
    (total,) = found["totals"]
    assert total["service_units"] == pytest.approx(sum(job["estimate"]["service_units"] for job in found["jobs"]))
    assert total["lives"] == found["longest_chain"] == sum(job["estimate"]["lives"] for job in found["jobs"])
    assert {one["fix"].partition(" ")[0] for one in found["obstacles"]} >= {"dvc", "export"}, "data, account"
    printed = ask(*asked).output
    assert f"{total['service_units']:,.0f} service units of {credits} credits" in printed
    assert f"longest chain: {found['longest_chain']} lives in a row" in printed
    assert "before it can be submitted:" in printed
    assert not (shipped / "runs").exists()


def test_a_shorter_job_makes_a_longer_chain(
    shipped: Path, ask: Ask, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(with_site(shipped, tmp_path / "root", minutes=720))
    found = told(ask("stage1", "--dry-run", "--site", "anvil", "--profile", "h100", "--json"))
    estimate = found["jobs"][0]["estimate"]
    assert (estimate["lives"] - 1) * 12 < estimate["hours"] < estimate["lives"] * 12


def test_memory_that_is_not_asked_for_is_told(
    shipped: Path, ask: Ask, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(with_site(shipped, tmp_path / "root", memory_gb_per_node=20))
    shown = ask("stage1", "--dry-run", "--site", "anvil", "--profile", "h100").output
    assert re.search(r"DOES NOT FIT: stage1: memory of a node: needs 2\d\.\d\d GB, of at most 20\.00 GB$", shown, re.M)
    monkeypatch.chdir(shipped)
    assert "DOES NOT FIT" not in ask("stage1", "--dry-run", "--site", "anvil", "--profile", "h100").output


def with_site(shipped: Path, root: Path, **train: int) -> Path:
    """A copy whose site anvil asks for something else for trainings."""
    body = yaml.safe_load((ROOT / "sites" / "anvil.yaml").read_text())
    body["shapes"]["train"] |= train
    shutil.copytree(shipped, root, symlinks=True, ignore=shutil.ignore_patterns("sites"))
    (root / "sites").mkdir()
    (root / "sites" / "anvil.yaml").write_text(yaml.safe_dump(body))
    return root


@pytest.mark.parametrize(
    ("target", "stage", "fewer"),
    [
        ("stage1", "stage1", 2),
        ("pipelines/pile_ffn/dvc.yaml:train@baseline-42", "pipelines/pile_ffn/dvc.yaml:train@baseline-42", 1),
        ("pipelines/datacomp/dvc.yaml:train@world-42", "pipelines/datacomp/dvc.yaml:train@world-42", 2),
    ],
    ids=["molmo2", "pile_ffn", "datacomp"],
)
def test_a_plan_that_does_not_divide_over_the_ranks_is_an_obstacle_until_there_are_fewer(
    shipped: Path, ask: Ask, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, target: str, stage: str, fewer: int
) -> None:
    monkeypatch.chdir(shipped)
    found = told(ask(target, "--dry-run", "--site", "anvil", "--json"))
    (refused,) = [one for one in found["obstacles"] if "ranks" in one["what"]]
    assert refused["what"].startswith(f"{stage} cannot be done by 4 ranks, of params.yaml: packs_per_step=")
    possible = f"`nodes: 1, tasks_per_node: {fewer}, gpus_per_node: {fewer}` in shapes.train of sites/anvil.yaml"
    assert possible in refused["fix"]
    monkeypatch.chdir(with_site(shipped, tmp_path / "root", tasks_per_node=fewer, gpus_per_node=fewer))
    found = told(ask(target, "--dry-run", "--site", "anvil", "--json"))
    assert [one for one in found["obstacles"] if "ranks" in one["what"]] == []


def test_a_chain_that_is_longer_than_its_lives_is_an_obstacle(
    shipped: Path, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(shipped)

    def endless(partition: str, profile: str) -> list[str]:
        found = told(
            ask("stage3", "--dry-run", "--site", "anvil", "--partition", partition, "--profile", profile, "--json")
        )
        return [one["what"] for one in found["obstacles"] if " lives of " in one["what"]]

    (refused,) = endless("gpu", "a100-40")
    assert refused.startswith("stage2 takes ")
    assert refused.endswith("lives of 48 h, and site anvil gives a job 20")
    assert endless("ai", "h100") == []


def test_what_was_not_estimated_is_not_in_the_total(
    shipped: Path, ask: Ask, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(with_site(shipped, tmp_path / "root", tasks_per_node=1, gpus_per_node=1))
    printed = ask("pipelines/pile_ffn/dvc.yaml:train@baseline-42", "--dry-run", "--site", "anvil").output
    assert "; 1 of 5 jobs are estimated, the others not counted" in printed
    assert "estimated by the parameters in force, not submitted" in printed


def test_without_a_job_that_is_granted_only_the_obstacles_are_printed(
    shipped: Path, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(shipped)
    printed = ask("stage1", "--dry-run", "--site", "anvil", "--partition", "shared").output
    assert printed.startswith("before it can be submitted:\n")
    assert "partition shared, cannot grant what is asked for train" in printed
    assert (
        "\n    Slurm would refuse the job, or let it wait for ever\n    fix: the nearest possible: `trackyard"
        in printed
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = make_repository(tmp_path_factory.mktemp("made") / "toy")
    (root / "sites").mkdir()
    body = SITE.model_dump(mode="json", exclude_defaults=True)
    (root / "sites" / "toy.yaml").write_text(yaml.safe_dump(body))
    return root


@pytest.fixture
def toy(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = copied(made, tmp_path / "toy")
    monkeypatch.chdir(root)
    return root


@pytest.fixture
def slurm(monkeypatch: pytest.MonkeyPatch) -> FakeSlurm:
    """In place of the programs of Slurm."""
    found = FakeSlurm(runner.SystemRunner())
    monkeypatch.setattr(runner, "SystemRunner", lambda: found)
    return found


def test_what_is_submitted_is_told(toy: Path, ask: Ask, slurm: FakeSlurm, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = ask("items", "--dry-run", "--site", "toy").output
    assert "items (3 tasks)" in shown
    assert "not estimated: first, second, items (only training stages are estimated one by one)" in shown
    assert "longest chain: at least 3 lives" in shown
    assert slurm.count("sbatch") == 0
    assert not (toy / "runs").exists(), "a dry run leaves nothing"
    monkeypatch.setenv(SITE_VARIABLE, "toy")
    found = told(ask("items", "--json"))
    assert {job["name"]: job["slurm_id"] for job in found["jobs"]} == {
        "first": "1", "second": "2", "items-a": "3_0", "items-b": "3_1", "items-c": "3_2",
    }  # fmt: skip
    assert (toy / "runs" / "jobs" / found["graph"] / "graph.json").is_file()
    with pytest.raises(TrackyardError, match="has not ended"):
        ask("items")
    printed = ask("parts", "--shards", "parts=2").output
    assert "submitted parts-parts (2 tasks): 5, never run; after other" in printed
    assert "submitted parts: 6, never run; after parts-parts" in printed
    assert printed.splitlines()[-1].startswith("graph     parts-")


def test_ranks_that_a_plan_refuses_are_not_submitted(toy: Path, ask: Ask, slurm: FakeSlurm) -> None:
    (toy / "profiles").symlink_to(ROOT / "profiles")
    (toy / "params.yaml").write_text((toy / "params.yaml").read_text() + (ROOT / "params.yaml").read_text())
    graph = (toy / "dvc.yaml").read_text()
    (toy / "dvc.yaml").write_text(graph.replace("cp in/data.txt first.txt", "trackyard run pile_ffn train baseline-42"))
    with pytest.raises(ConfigError, match=r"first cannot be done by 2 ranks, of params\.yaml"):
        ask("first", "--site", "toy")
    assert slurm.submitted == []
    site = (toy / "sites" / "toy.yaml").read_text()
    (toy / "sites" / "toy.yaml").write_text(site.replace("tasks_per_node: 2", "tasks_per_node: 1"))
    ask("first", "--site", "toy")
    assert len(slurm.submitted) == 1


def test_nothing_to_do_is_told(toy: Path, ask: Ask, slurm: FakeSlurm) -> None:
    dvc(toy, "repro", "--quiet", "other")
    for more in ((), ("--dry-run",)):
        assert ask("other", "--site", "toy", *more).output == (
            "nothing to do: other and all they come from are up to date\n"
        )
    assert told(ask("other", "--site", "toy", "--json"))["jobs"] == []
    assert slurm.submitted == []


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (("other",), "no site is named"),
        (("other", "--site", "toy", "--profile", "h100"), "--profile h100 without --dry-run"),
        (("parts", "--site", "toy", "--shards", "parts"), "--shards parts"),
        (("parts", "--site", "toy", "--shards", "parts=many"), "--shards parts=many"),
        (("other", "--site", "nowhere"), "there is no site 'nowhere'"),
        (("first", "--site", "toy", "--partition", "none"), "site toy has no partition 'none'"),
    ],
)
def test_wrong_use_is_refused(toy: Path, ask: Ask, slurm: FakeSlurm, arguments: tuple[str, ...], what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        ask(*arguments)
    assert slurm.submitted == []
