"""Every row that `trackyard doctor` prints, by its name: once in a world where it is OK, once in one where it is not.

The rows are those of the doctor itself, so one that is added without both worlds fails here, and so does one that is
wired to another's function. What a row says in each case is tested beside its own module.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

from tests.launch.doctor.asking import CLUSTER, LOCAL, asking, mounted
from tests.launch.doctor.test_machine_rows import DRIVER, GPU_BUILD, HERE, IMAGED
from tests.launch.doctor.test_place_rows import ALL, LINKED, NO_FLOCK, NO_LINKS, aged, giving, purging, with_dvc
from tests.launch.doctor.test_reach_rows import with_remote
from tests.launch.doctor.test_slurm_rows import ACCOUNTING, MINE, NO_ACCOUNTING, SINFO, UP, everywhere
from trackyard.launch.doctor import (
    accelerator,
    apptainer,
    checks,
    clock,
    locking,
    network,
    packages,
    scheduler,
    storing,
)
from trackyard.launch.doctor.accelerator import Build
from trackyard.launch.doctor.asked import Asked, Wanted
from trackyard.launch.image.lock_file import ImageLock, write_lock
from trackyard.launch.mounts import MOUNTS
from trackyard.launch.preflight import Row, run_checks
from trackyard.record.code import COMMIT_VARIABLE

GATED = Wanted(name="molmo2/stage2", bytes=10**18, files=None, gated=("owner/films",))
"""Larger than any disk."""


@dataclass(frozen=True, kw_only=True, slots=True)
class World:
    root: Path
    patch: pytest.MonkeyPatch

    def given(self, function: Callable[..., object], *defaults: object) -> World:
        """`function` with other defaults: what it looks at on this machine."""
        self.patch.setattr(function, "__defaults__", defaults)
        return self

    def asked(self, answers: Mapping[str, str | tuple[int, str]] | None = None, **more: Any) -> Asked:
        return asking(self.root, answers, **more)

    def imaged(self, answers: Mapping[str, str | tuple[int, str]] | None = None, **more: Any) -> Asked:
        return self.asked(answers, site=IMAGED, **more)

    def cluster(self, answers: Mapping[str, str | tuple[int, str]] | None = None, **more: Any) -> Asked:
        return self.asked(answers, site=CLUSTER, **more)

    def file(self, name: str, text: str = "", mode: int = 0o755) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)
        return path

    def gpus(self, build: Build = GPU_BUILD) -> World:
        self.patch.setattr(accelerator, "torch_build", lambda: build)
        self.patch.setattr(accelerator, "nvidia_driver", lambda: DRIVER)
        self.patch.setattr(accelerator, "_seen_by_torch", lambda: 2)
        return self


def locked(world: World, pin: str) -> Asked:
    world.file("requirements.lock", pin)
    return world.asked()


def without_torch(world: World) -> Asked:
    world.patch.setattr(accelerator, "find_spec", lambda name: None)
    return world.asked()


def compiling(world: World, *, nvcc: bool) -> Asked:
    if nvcc:
        world.file("bin/nvcc")
    return world.gpus().asked(environment={"CUDA_HOME": str(world.root)})


def squashing(world: World, mode: int) -> Asked:
    world.file("apptainer/bin/squashfuse_ll", mode=mode)
    return world.imaged({"apptainer buildcfg": str(world.root)}, environment={"PATH": str(world.root / "none")})


def numbered(world: World, count: int) -> Asked:
    file = world.file("subuid", f"{os.getuid()}:100000:{count}\n")
    return world.given(apptainer.subordinate_ids, (file, file)).imaged()


def with_image(world: World) -> Asked:
    found = (world.root / "cpu.sif", "sha256:" + "ab" * 32)
    world.patch.setattr("trackyard.launch.image.finding.image_of", lambda *_: found)
    return world.imaged()


def without_image(world: World) -> Asked:
    write_lock(world.root, ImageLock())
    return world.imaged()


def connected(world: World) -> Asked:
    world.patch.setattr(network, "ask", lambda address: "the hub answers")
    return world.asked()


def on_scratch(world: World, *, there: bool) -> Asked:
    if there:
        aged(world.root / "fast" / "new", 3)
    return world.asked(**purging(world.root / "fast"))


def remote(world: World, url: str, more: str = "") -> Asked:
    (world.root / "kept").mkdir()
    with_remote(world.root, url, more)
    return world.asked()


def dvc(world: World, probe: Callable[[Path], locking.Works], settings: str = "") -> Asked:
    with_dvc(world.root, settings)
    return world.given(locking.dvc_row, probe, MOUNTS).asked()


def database(world: World, kind: str) -> Asked:
    return world.given(storing.database_row, mounted(world.root, kind)).asked()


State = Literal["failed", "warned"]
Make = Callable[[World], Asked]
ROWS: dict[str, tuple[Make, Make, State]] = {
    "python": (
        lambda w: w.given(packages.python, (3, 11, 9)).asked(),
        lambda w: w.given(packages.python, (3, 12, 1)).asked(),
        "failed",
    ),
    "packages": (
        lambda w: locked(w, f"pytest=={pytest.__version__}"),
        lambda w: locked(w, "no-such-package==1"),
        "failed",
    ),
    "torch": (lambda w: w.asked(), without_torch, "failed"),
    "driver": (
        lambda w: w.gpus().asked(),
        lambda w: w.gpus(Build(version="2.13.0+cpu", cuda=None)).asked(),
        "failed",
    ),
    "compiler": (lambda w: compiling(w, nvcc=True), lambda w: compiling(w, nvcc=False), "warned"),
    "apptainer": (
        lambda w: w.imaged({"apptainer --version": "apptainer version 1.4.5"}),
        lambda w: w.imaged({"apptainer --version": (255, "broken")}),
        "failed",
    ),
    "squashfuse": (lambda w: squashing(w, 0o755), lambda w: squashing(w, 0o644), "failed"),
    "fuse device": (
        lambda w: w.given(apptainer.fuse, Path(os.devnull)).imaged(),
        lambda w: w.given(apptainer.fuse, w.root / "fuse").imaged(),
        "failed",
    ),
    "user namespaces": (
        lambda w: w.imaged({"unshare": ""}),
        lambda w: w.imaged({"unshare": (1, "denied"), "apptainer buildcfg": str(w.root)}),
        "failed",
    ),
    "subordinate ids": (lambda w: numbered(w, 65536), lambda w: numbered(w, 1), "warned"),
    "image": (with_image, without_image, "failed"),
    "slurm": (
        lambda w: w.given(scheduler.slurm_row, everywhere).cluster(UP),
        lambda w: w.given(scheduler.slurm_row, lambda name: None).cluster(UP),
        "failed",
    ),
    "partitions": (
        lambda w: w.cluster({"sinfo": SINFO}),
        lambda w: w.cluster({"sinfo": SINFO.replace("h100:4", "h100:2")}),
        "failed",
    ),
    "account": (lambda w: w.cluster(NO_ACCOUNTING, environment=MINE), lambda w: w.cluster(NO_ACCOUNTING), "failed"),
    "limits": (
        lambda w: w.cluster({**ACCOUNTING, "sacctmgr": "proj|||normal\n"}),
        lambda w: w.cluster({"scontrol show config": (1, "no controller")}),
        "failed",
    ),
    "mybalance": (
        lambda w: w.given(scheduler.tool_row, everywhere).cluster({"mybalance": "proj 1000"}),
        lambda w: w.given(scheduler.tool_row, everywhere).cluster({"mybalance": (1, "no server")}),
        "warned",
    ),
    "myquota": (
        lambda w: w.given(scheduler.tool_row, everywhere).cluster({"myquota": "home 3 of 25 GB"}),
        lambda w: w.given(scheduler.tool_row, everywhere).cluster({"myquota": (1, "no server")}),
        "warned",
    ),
    "locks of runs": (
        lambda w: w.given(locking.runs_row, giving(ALL), MOUNTS).asked(),
        lambda w: w.given(locking.runs_row, giving(NO_FLOCK), MOUNTS).asked(),
        "failed",
    ),
    "locks of DVC": (lambda w: dvc(w, giving(ALL)), lambda w: dvc(w, giving(NO_LINKS), LINKED), "failed"),
    "file system": (
        lambda w: w.given(storing.runs_row, mounted(w.root, "gpfs")).asked(),
        lambda w: w.given(storing.runs_row, mounted(w.root, "tmpfs")).asked(),
        "warned",
    ),
    "tracking database": (lambda w: database(w, "ext4"), lambda w: database(w, "gpfs"), "failed"),
    "space": (lambda w: w.asked(), lambda w: w.asked(wanted=GATED), "failed"),
    "scratch": (lambda w: on_scratch(w, there=True), lambda w: on_scratch(w, there=False), "failed"),
    "network": (
        connected,
        lambda w: w.cluster(
            compute_has_network=True, environment={"SLURM_JOB_ID": "7", "HF_ENDPOINT": "http://127.0.0.1:none"}
        ),
        "failed",
    ),
    "MLflow": (
        lambda w: w.asked(),
        lambda w: w.asked(environment={"MLFLOW_TRACKING_URI": "file:///x"}),
        "failed",
    ),
    "DVC remote": (lambda w: remote(w, "../kept"), lambda w: remote(w, "../lost"), "failed"),
    "DVC secrets": (
        lambda w: remote(w, "../kept"),
        lambda w: remote(w, "https://host.example/x", "    password = never-shown\n"),
        "failed",
    ),
    "git": (lambda w: w.asked(environment={COMMIT_VARIABLE: "ab" * 20}), lambda w: w.asked(), "failed"),
    "clock": (
        lambda w: w.given(clock.clock_row, time.time).asked(),
        lambda w: w.given(clock.clock_row, lambda: time.time() + 60).asked(),
        "failed",
    ),
    "secrets": (lambda w: w.asked(), lambda w: w.asked(wanted=GATED, environment={"HOME": str(w.root)}), "failed"),
}
"""By name: a world in which the row is OK, one in which it is not, and what it says there. A row of "warned" is about
what stops nothing, and never fails."""


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(checks, "which", lambda name: HERE)
    return World(root=tmp_path, patch=monkeypatch)


def seen(name: str, asked: Asked) -> Row:
    """The one row of this name, as the doctor has it."""
    (check,) = (one for one in checks.checks(asked) if one.name == name)
    return run_checks([check]).rows[0]


def test_every_row_of_the_doctor_is_tried_both_ways(tmp_path: Path) -> None:
    assert [check.name for check in checks.checks(asking(tmp_path, site=LOCAL))] == list(ROWS)


@pytest.mark.parametrize("name", ROWS)
def test_the_row_is_ok(world: World, name: str) -> None:
    row = seen(name, ROWS[name][0](world))
    assert (row.state, row.exit_code, row.fix) == ("passed", 0, ""), row


@pytest.mark.parametrize("name", ROWS)
def test_the_row_is_not_ok(world: World, name: str) -> None:
    _, broken, state = ROWS[name]
    row = seen(name, broken(world))
    assert row.state == state, row
    assert all((row.detail, row.why, row.fix)), row
    assert row.exit_code in ({2, 3} if state == "failed" else {0}), row
