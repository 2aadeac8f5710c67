"""A small repository with real DVC and git, a graph of its stages, and `srun` that runs its command at once."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from dvc.repo import Repo

from tests.launch.slurm.fake_slurm import FakeSlurm
from trackyard.launch.jobs.graph import Graph, Job
from trackyard.launch.jobs.inputs import inputs_now
from trackyard.launch.jobs.store import Kept, new_graph
from trackyard.launch.jobs.working import work
from trackyard.launch.slurm.batch import Request
from trackyard.runner import Finished

ONE = Request(
    partition="gpu",
    account=None,
    nodes=1,
    tasks_per_node=1,
    gpus_per_node=0,
    cores_per_task=1,
    memory_mb_per_node=None,
    minutes=10,
)
STAGE = '''"""Usage: stage.py run toy STAGE. What it does stands in mode: ok, exit CODE, save CODE, or wait."""
import os, pathlib, signal, sys, time

stage = sys.argv[3]
told = pathlib.Path("told", stage)
told.mkdir(parents=True, exist_ok=True)
rows = pathlib.Path("runs/toy", stage, "rows.txt")
rows.parent.mkdir(parents=True, exist_ok=True)
with open(told / "ran", "a") as file:
    file.write(f"{os.environ.get('TRACKYARD_JOB')} {os.environ.get('TRACKYARD_SITE')}\\n")
mode, _, code = pathlib.Path("mode").read_text().strip().partition(" ")

def stop(number, frame):
    with open(told / "signals", "a") as file:
        file.write(signal.Signals(number).name + "\\n")
    with open(rows, "a") as file:
        file.write("row\\n")
    sys.exit(75)

if mode == "wait":
    for number in (signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, stop)
    (told / "ready").touch()
    time.sleep(60)
if mode == "save":
    with open(rows, "a") as file:
        file.write("row\\n")
if mode in ("save", "exit"):
    sys.exit(int(code))
out = pathlib.Path("out", stage)
out.parent.mkdir(exist_ok=True)
with open(out, "a") as file:
    file.write(f"made of {pathlib.Path('data').read_text()}")
if mode == "meddle":
    pathlib.Path("data").write_text("other")
'''
SRUN = """#!/bin/bash
while [[ "$1" == --* ]]; do shift; done
exec "$@"
"""
SITE = """
name: toy
scheduler: slurm
default_partition: gpu
partitions:
  gpu: {device: cpu, cores_per_node: 2}
jobs: {attempts: 3}
"""


def make_repository(root: Path, stages: Sequence[str] = ("one",)) -> Path:
    """git, DVC, a site, and independent stages that each make out/NAME of the file data."""
    root.mkdir(parents=True)
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    Repo.init(str(root)).close()
    (root / "params.yaml").write_text("{}\n")
    (root / "data").write_text("first")
    (root / "mode").write_text("ok")
    (root / "stage.py").write_text(STAGE)
    lines = ["stages:"]
    for stage in stages:
        lines += [
            f"  {stage}:",
            f"    cmd: python stage.py run toy {stage}",
            "    deps: [data]",
            f"    outs: [out/{stage}]",
        ]
    (root / "dvc.yaml").write_text("\n".join([*lines, ""]))
    (root / "sites").mkdir()
    (root / "sites" / "toy.yaml").write_text(SITE)
    programs = root / "programs"
    programs.mkdir()
    (programs / "srun").write_text(SRUN)
    (programs / "srun").chmod(0o755)
    return root


class DvcHere:
    """`dvc commit` in this process, which is faster; anything else is not expected."""

    def __init__(self) -> None:
        self.commits: list[str] = []

    def run(
        self,
        argv: Sequence[str],
        *,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        timeout_s: float = 60.0,
    ) -> Finished:
        assert list(argv[:-1]) == [sys.executable, "-m", "dvc", "--wait-for-lock", "commit", "--force"], argv
        self.commits.append(argv[-1])
        assert cwd is not None
        with contextlib.chdir(cwd), Repo() as repo:
            repo.commit(argv[-1], force=True)
        return Finished(argv=tuple(argv), exit_code=0, stdout="", stderr="", seconds=0.0)


@dataclasses.dataclass
class Toy:
    """A repository, a scheduler and a graph; `live` is one life of a job of it."""

    root: Path
    slurm: FakeSlurm
    dvc: DvcHere
    kept: Kept
    said: list[str] = dataclasses.field(default_factory=list)

    def mode(self, text: str) -> None:
        (self.root / "mode").write_text(text)

    def environment(
        self, restarts: int = 0, slurm_id: str = "7", index: int | None = None, job_name: str = "toy-1.one.1"
    ) -> dict[str, str]:
        found = {"PATH": f"{self.root}/programs{os.pathsep}{os.environ['PATH']}", "SLURM_JOB_ID": slurm_id,
                 "SLURM_JOB_NODELIST": "node1", "SLURM_JOB_NAME": job_name}  # fmt: skip
        if restarts:
            found["SLURM_RESTART_COUNT"] = str(restarts)
        if index is not None:
            found |= {"SLURM_JOB_ID": "900", "SLURM_ARRAY_JOB_ID": slurm_id, "SLURM_ARRAY_TASK_ID": str(index)}
        return found

    def live(
        self, name: str = "one", *, restarts: int = 0, index: int | None = None, job_name: str = "toy-1.one.1",
        told_s: float = 0.3,
    ) -> int:  # fmt: skip
        return work(
            self.root,
            self.kept.graph.id,
            name,
            say=self.said.append,
            environment=self.environment(restarts, index=index, job_name=job_name),
            runner=self.slurm,
            told_s=told_s,
            settle_s=0.0,
        )

    def requeued(self) -> list[str]:
        return [argv[2] for argv in self.slurm.calls if argv[:2] == ("scontrol", "requeue")]

    def recorded(self) -> str:
        lock = self.root / "dvc.lock"
        return lock.read_text() if lock.is_file() else ""

    def told(self, what: str, stage: str = "one") -> list[str]:
        path = self.root / "told" / stage / what
        return path.read_text().splitlines() if path.is_file() else []


def job(root: Path, name: str, stage: str | None = None, **fields: object) -> Job:
    """A job of a stage of the repository; fields: other than usual."""
    stage = stage or name
    usual = {
        "name": name, "stage": stage, "command": ("python", "stage.py", "run", "toy", stage), "needs": "cpu",
        "reason": "never run", "detail": "", "request": ONE, "after": (), "array": None, "index": None, "commits": True,
        "inputs": inputs_now(root, stage),
    }  # fmt: skip
    return Job(**(usual | fields))  # type: ignore[arg-type]


def keep(root: Path, *jobs: Job, id: str = "toy-1") -> Kept:
    """Write the graph of these jobs down."""
    graph = Graph(
        id=id, site="toy", targets=("one",), created=datetime.now(UTC).isoformat(), commit="0" * 40, jobs=tuple(jobs)
    )
    return new_graph(root, graph)


def running(slurm: FakeSlurm, slurm_id: str = "7") -> None:
    """A job that the scheduler has started."""
    from tests.launch.slurm.fake_slurm import FakeJob

    slurm.jobs[slurm_id] = FakeJob(id=slurm_id, text="", options={"job-name": f"toy.{slurm_id}"}, state="RUNNING")


def copy_of(template: Path, target: Path) -> Path:
    """A repository of its own: DVC's stands in its files alone."""
    shutil.copytree(template, target, symlinks=True)
    return target
