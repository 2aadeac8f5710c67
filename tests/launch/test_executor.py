"""Where a stage runs: in place, inside the site's image, or as a job, by the site and by what the stage needs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.small_image import make_repository
from tests.launch.image.fake_apptainer import FakeApptainer
from trackyard.errors import ConfigError, DataError, EnvironmentLacking
from trackyard.launch.executor import run_elsewhere
from trackyard.launch.image.building import build
from trackyard.launch.jobs import single
from trackyard.launch.stage_needs import StageNeed
from trackyard.runner import SystemRunner

SLURM = {
    "scheduler": "slurm",
    "shapes": {"train": {"minutes": 60, "gpus_per_node": 1}, "gpu": {"minutes": 60}, "cpu": {"minutes": 60}},
}
NEEDS = ("train", "gpu", "cpu", "network")


class Entered(BaseException):
    """What `os.execvpe` does here: nothing behind it runs."""

    def __init__(self, file: str, argv: list[str], environment: dict[str, str]) -> None:
        super().__init__(file)
        assert file == argv[0]
        self.argv, self.environment = argv, environment


class World:
    """A repository with an image `small`, a track toy that has a stage for each need, and a site. jobs: submitted."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.jobs: list[tuple[StageNeed, tuple[str, ...]]] = []
        stages: dict[str, Any] = {
            needs: {"cmd": f"trackyard run toy {needs}", "meta": {"needs": needs}} for needs in NEEDS
        }
        stages["cells"] = {
            "matrix": {"cell": ["a", "b"]}, "cmd": "trackyard run toy cells ${item.cell}", "meta": {"needs": "train"},
        }  # fmt: skip
        (root / "pipelines" / "toy").mkdir(parents=True)
        (root / "pipelines" / "toy" / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))

    def as_job(self, root: Path, site: Any, stage: StageNeed, command: tuple[str, ...], **others: Any) -> int:
        assert (root, site.name, set(others)) == (self.root, "toy", {"environment", "runner", "say"})
        self.jobs.append((stage, command))
        return 75

    def site(self, **given: Any) -> None:
        partitions = {"p": {"device": "any", "cores_per_node": 2, "gpus_per_node": 1}}
        body = {"name": "toy", "default_partition": "p", "partitions": partitions} | given
        (self.root / "sites").mkdir(exist_ok=True)
        (self.root / "sites" / "toy.yaml").write_text(yaml.safe_dump(body))

    def run(self, stage: str, item: str | None = None, *options: str, **environment: str | None) -> int | None:
        """environment: beside the site's name; None takes it out."""
        given = {"PATH": os.environ["PATH"], "TMPDIR": str(self.root.parent), "TRACKYARD_SITE": "toy"} | environment
        kept = {name: value for name, value in given.items() if value is not None}
        return run_elsewhere(
            self.root, "toy", stage, item, options, environment=kept, runner=SystemRunner(), say=print
        )  # fmt: skip


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "apptainer"
    program.write_text("#!/bin/sh\nexit 99\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    root = tmp_path / "root"
    make_repository(root)
    (tmp_path / "base.sif").write_bytes(b"base")
    given = {"BASE": str(tmp_path / "base.sif")}
    build(root, "small", FakeApptainer(), site=None, given=given, temporary=None, say=lambda _: None)
    made = World(root)
    monkeypatch.setattr(single, "run_as_job", made.as_job)

    def become(file: str, argv: list[str], environment: dict[str, str]) -> None:
        raise Entered(file, argv, environment)

    monkeypatch.setattr(os, "execvpe", become)
    return made


@pytest.mark.parametrize("needs", NEEDS)
def test_without_a_site_every_stage_runs_in_place(world: World, needs: str) -> None:
    world.site(**SLURM, image="small")
    assert world.run(needs, TRACKYARD_SITE=None) is None
    assert world.run(needs, TRACKYARD_SITE="") is None
    assert world.jobs == []


@pytest.mark.parametrize("needs", NEEDS)
@pytest.mark.parametrize("job", [None, "7"])
def test_inside_an_image_every_stage_runs_in_place(world: World, needs: str, job: str | None) -> None:
    """Or it would enter it for ever."""
    world.site(**SLURM, image="small")
    assert world.run(needs, TRACKYARD_IMAGE_DIGEST="sha256:" + "a" * 64, SLURM_JOB_ID=job) is None
    assert world.jobs == []


@pytest.mark.parametrize("image", [None, "small"])
@pytest.mark.parametrize("needs", ["train", "gpu", "cpu"])
def test_at_a_site_with_a_scheduler_a_stage_is_a_job_and_its_exit_code_the_jobs(
    world: World, needs: str, image: str | None
) -> None:
    world.site(**SLURM, image=image)
    assert world.run(needs, None, "--shard", "0/2") == 75
    ((stage, command),) = world.jobs
    assert (stage.address, stage.needs) == (f"pipelines/toy/dvc.yaml:{needs}", needs)
    assert command == ("trackyard", "run", "toy", needs, "--shard", "0/2")


def test_a_job_of_a_matrix_has_the_item_in_its_command_and_address(world: World) -> None:
    world.site(**SLURM)
    world.run("cells", "b", "--processes", "2")
    ((stage, command),) = world.jobs
    assert stage.address == "pipelines/toy/dvc.yaml:cells@b"
    assert command == ("trackyard", "run", "toy", "cells", "b", "--processes", "2")


def test_what_needs_the_internet_is_a_job_only_where_the_site_says_so(world: World) -> None:
    world.site(**SLURM)
    assert world.run("network") is None
    assert world.jobs == []
    shapes = SLURM["shapes"] | {"network": {"minutes": 60}}  # type: ignore[operator]
    world.site(scheduler="slurm", shapes=shapes, compute_has_network=True)
    assert world.run("network") == 75
    assert [stage.needs for stage, _ in world.jobs] == ["network"]


@pytest.mark.parametrize("scheduler", ["slurm", "none"])
def test_inside_a_job_and_without_a_scheduler_nothing_is_submitted(world: World, scheduler: str) -> None:
    """There what needs no image runs in place, and so does everything where the site names none."""
    shapes = SLURM["shapes"] if scheduler == "slurm" else {}
    job = "7" if scheduler == "slurm" else None
    world.site(scheduler=scheduler, shapes=shapes)
    assert [world.run(needs, SLURM_JOB_ID=job) for needs in NEEDS] == [None] * 4
    world.site(scheduler=scheduler, shapes=shapes, image="small")
    assert [world.run(needs, SLURM_JOB_ID=job) for needs in ("cpu", "network")] == [None] * 2
    for needs in ("train", "gpu"):
        with pytest.raises(Entered):
            world.run(needs, SLURM_JOB_ID=job)
    assert world.jobs == []


@pytest.mark.parametrize(("needs", "gpus"), [("train", True), ("gpu", False)])
def test_this_process_becomes_the_same_command_inside_the_locked_image(world: World, needs: str, gpus: bool) -> None:
    """With GPUs where the shape of the need has some; a second life of the command knows by the digest where it is."""
    world.site(**SLURM, image="small")
    with pytest.raises(Entered) as entered:
        world.run(needs, None, "--params", "profiles/small.yaml", SLURM_JOB_ID="7", SECRET_TOKEN="canary-9")
    argv = entered.value.argv
    image = str(world.root / "containers" / "small.sif")
    assert argv[:3] == ["apptainer", "-q", "exec"]
    assert ("--nv" in argv) is gpus
    assert argv[argv.index(image) :] == [
        image, "python", "-m", "trackyard", "run", "toy", needs, "--params", "profiles/small.yaml",
    ]  # fmt: skip
    (digest,) = [word for word in argv if word.startswith("TRACKYARD_IMAGE_DIGEST=")]
    name, _, value = digest.partition("=")
    assert world.run(needs, SLURM_JOB_ID="7", **{name: value}) is None
    assert not [word for word in argv if "canary" in word]


@pytest.mark.parametrize("data", [b"imagE", None], ids=["other bytes", "no file"])
def test_an_image_that_is_not_the_locked_one_is_not_entered(world: World, data: bytes | None) -> None:
    world.site(image="small")
    path = world.root / "containers" / "small.sif"
    path.unlink() if data is None else path.write_bytes(data)
    with pytest.raises(EnvironmentLacking if data is None else DataError, match="image"):
        world.run("train")


def test_a_stage_or_a_site_that_is_not_there_is_refused_before_anything_starts(world: World) -> None:
    world.site(**SLURM, image="small")
    with pytest.raises(ConfigError, match="runs `trackyard run toy other`"):
        world.run("other")
    with pytest.raises(ConfigError, match="nowhere"):
        world.run("train", TRACKYARD_SITE="nowhere")
    assert world.jobs == []
