"""A small repository under git and DVC that names a test cluster as its site, and `trackyard` in it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.slurm_cluster import SlurmCluster
from tests.system.repository import LIMIT_S, SOURCE, Ended, Repository
from trackyard.launch.jobs.store import open_graph

SITE = "test-cluster"
TINY = "pipelines/tiny/dvc.yaml"

_SITE = {
    "name": SITE,
    "scheduler": "slurm",
    "compute_has_network": False,
    "default_partition": "gpu",
    "partitions": {
        name: {
            "device": "h100", "gpus_per_node": 4, "nodes": 2, "cores_per_node": 4, "memory_gb_per_node": 8,
            "max_hours": 24, "service_units_per_gpu_hour": 1, "credits": "test",
        }
        for name in ("gpu", "preempt")
    },
    "shapes": {
        "train": {"gpus_per_node": 1, "cores_per_task": 2, "memory_gb_per_node": 4, "minutes": 5},
        "cpu": {"memory_gb_per_node": 1, "minutes": 5},
    },
    "jobs": {"attempts": 4, "signal_lead_s": 30},
}  # fmt: skip

_TINY = """\
stages:
  early:
    meta: {needs: cpu}
    wdir: ../..
    cmd: bash pipelines/tiny/step.sh early
    deps: [pipelines/tiny/step.sh]
    outs: [artifacts/tiny/early]
  broken:
    meta: {needs: cpu}
    wdir: ../..
    cmd: bash pipelines/tiny/step.sh broken
    deps: [pipelines/tiny/step.sh, artifacts/tiny/early]
    outs: [artifacts/tiny/broken]
  late:
    meta: {needs: cpu}
    wdir: ../..
    cmd: bash pipelines/tiny/step.sh late
    deps: [pipelines/tiny/step.sh, artifacts/tiny/broken]
    outs: [artifacts/tiny/late]
  cells:
    matrix:
      cell: [a, b, c]
    meta: {needs: cpu}
    wdir: ../..
    cmd: bash pipelines/tiny/step.sh cell-${item.cell}
    deps: [pipelines/tiny/step.sh]
    outs:
      - artifacts/tiny/cell-${item.cell}
  divided:
    meta: {needs: cpu, divided: true}
    wdir: ../..
    cmd: bash pipelines/tiny/step.sh divided
    deps: [pipelines/tiny/step.sh]
    outs:
      - artifacts/tiny/divided:
          persist: true
  table:
    meta: {needs: cpu}
    wdir: ../..
    cmd: bash pipelines/tiny/step.sh table
    deps:
      - pipelines/tiny/step.sh
      - artifacts/tiny/cell-a
      - artifacts/tiny/cell-b
      - artifacts/tiny/cell-c
    outs: [artifacts/tiny/table]
"""

_STEP = """\
# While asks/NAME.wait is there, the stage NAME waits; with asks/NAME.fail it fails. A part writes a file.
set -eu
mkdir -p artifacts/tiny asks
if [ "$1" = divided ]; then
  mkdir -p artifacts/tiny/divided
  if [ $# = 3 ]; then echo "$2 $3" >"artifacts/tiny/divided/part-${3%/*}"; exit 0; fi
  [ "$(cat artifacts/tiny/divided/part-* | wc -l)" = 3 ] || { echo 'parts are lacking'; exit 1; }
  echo joined >artifacts/tiny/divided/whole
  exit 0
fi
echo $$ >"asks/$1.pid"
while [ -e "asks/$1.wait" ]; do sleep 0.2; done
[ ! -e "asks/$1.fail" ] || { echo "$1 was asked to fail"; exit 3; }
echo "$1" >"artifacts/tiny/$1"
"""

_PACE = '''\
"""Found by every Python of a job: a training takes PACE_S seconds more for each step in its first life."""
import importlib.abc, importlib.util, os, sys, time

class _Paced(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name != "trackyard.train.engine":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        run = spec.loader.exec_module
        def then(module):
            run(module)
            taken = module.Engine.step
            def step(self, *arguments):
                time.sleep(float(os.environ["PACE_S"]))
                return taken(self, *arguments)
            module.Engine.step = step
        spec.loader.exec_module = then
        return spec

if os.environ.get("PACE_S") and not os.environ.get("SLURM_RESTART_COUNT"):
    sys.meta_path.insert(0, _Paced())
'''


@dataclass(frozen=True, kw_only=True)
class Project:
    """The repository, and the cluster that it names."""

    repository: Repository
    cluster: SlurmCluster

    @property
    def path(self) -> Path:
        return self.repository.path

    def trackyard(self, *arguments: str, **variables: str) -> Ended:
        return self.repository.within(**variables).trackyard(*arguments)

    def done(self, *arguments: str, **variables: str) -> str:
        """Standard output of a command that succeeds."""
        ended = self.trackyard(*arguments, **variables)
        assert ended.code == 0, f"{arguments}: {ended}\n{self.logs()}"
        return ended.out

    def submit(self, *arguments: str, **variables: str) -> str:
        """Submit; gives the id of the graph."""
        before = self.graphs()
        self.done("submit", *arguments, **variables)
        (made,) = self.graphs() - before
        return made

    def graphs(self) -> set[str]:
        return {path.parent.name for path in self.path.glob("runs/jobs/*/graph.json")}

    def status(self, graph: str, *, wait: bool = False, code: int = 0) -> dict[str, dict[str, Any]]:
        """Jobs by name, as `trackyard status --json` tells; code: that it ends with."""
        ended = self.trackyard("status", graph, "--json", *(["--wait"] if wait else []))
        assert ended.code == code, f"{ended}\n{self.logs()}"
        return {job["name"]: job for job in json.loads(ended.out)["jobs"]}

    def lives(self, graph: str, job: str) -> list[dict[str, Any]]:
        """Notes about the lives of a job."""
        return open_graph(self.path, graph).attempts(job)

    def wait_for(self, condition: Callable[[], object], what: str) -> None:
        """Until a job has made `condition` true; fails with the logs of all when none of the cluster's is left."""
        limit = time.monotonic() + LIMIT_S
        while not condition():
            left = self.cluster.run("squeue", "-h", "-o", "%i %T %r")
            assert left, f"no job is left to make it true: {what}\n{self.logs()}"
            assert time.monotonic() < limit, f"{what}: not after {LIMIT_S:.0f} s\n{left}\n{self.logs()}"
            time.sleep(0.2)

    def logs(self) -> str:
        found = sorted(self.path.glob("runs/jobs/*/*/log*.txt"))
        return "\n".join(
            f"{path.relative_to(self.path)}:\n{path.read_text(errors='replace')[-3000:]}" for path in found
        )

    def git(self, *arguments: str) -> str:
        return _run(["git", *arguments], self.path)

    def dvc(self, *arguments: str, **variables: str) -> str:
        return _run([sys.executable, "-m", "dvc", *arguments], self.path, variables)

    def weights(self, stage: str) -> dict[str, bytes]:
        """Exported files of a stage, by name."""
        folder = self.path / "artifacts" / "molmo2" / stage / "export"
        return {
            str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
        }

    def change_site(self, change: Callable[[dict[str, Any]], None]) -> None:
        """Change the file of its site."""
        path = self.path / "sites" / f"{SITE}.yaml"
        site = yaml.safe_load(path.read_text())
        change(site)
        path.write_text(yaml.safe_dump(site))

    def copy(self, target: Path) -> Project:
        """The same repository elsewhere, without its runs and the outputs of stage 2 and stage 3."""
        repository = self.repository.copy(target)
        for stage in ("stage2", "stage3"):
            shutil.rmtree(target / "artifacts" / "molmo2" / stage)
        # Restoring a result from the run cache would make it without running anything.
        shutil.rmtree(target / ".dvc" / "cache" / "runs", ignore_errors=True)
        return Project(repository=repository, cluster=self.cluster)


def make_project(
    bare: Repository, path: Path, cluster: SlurmCluster, *, account_variable: str | None = None
) -> Project:
    """A copy of `bare` at `path` with this project's stages and tiny ones, all of it committed."""
    repository = bare.copy(path)
    repository.edit(_brief_stage3)
    for name in ("dvc.yaml", "requirements.lock", "containers/image.lock.json"):
        (path / name).parent.mkdir(exist_ok=True)
        shutil.copy(SOURCE / name, path / name)
    shutil.copytree(SOURCE / "src", path / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    (path / TINY).parent.mkdir(parents=True)
    (path / TINY).write_text(_TINY)
    (path / "pipelines/tiny/step.sh").write_text(_STEP)
    (path / "pace").mkdir()
    (path / "pace" / "sitecustomize.py").write_text(_PACE)
    (path / "sites").mkdir()
    site = {**_SITE, "network": {"environment": _job_environment()}}
    if account_variable:
        site["account_variable"] = account_variable
    (path / "sites" / f"{SITE}.yaml").write_text(yaml.safe_dump(site))
    (path / ".gitignore").write_text("/artifacts/\n/runs/\n/asks/\n/output/\n/data\n__pycache__/\n")
    _run(["git", "init", "--quiet", "--initial-branch=main"], path)
    _run([sys.executable, "-m", "dvc", "init", "--quiet"], path)
    shutil.copy(SOURCE / ".dvcignore", path)
    (path / ".dvc" / "config").write_text("[core]\n    analytics = false\n    check_update = false\n")
    _run([sys.executable, "-m", "dvc", "add", "--quiet", "data"], path)
    _run(["git", "add", "--all"], path)
    _run(["git", "commit", "--quiet", "--message=small"], path)
    kept = {name: value for name, value in repository.environment.items() if name != "TRACKYARD_COMMIT"}
    return Project(
        repository=Repository(
            path=path,
            environment={
                **kept, **cluster.environment, "TRACKYARD_SITE": SITE, "DS_ACCELERATOR": "cpu",
                "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            },
        ),
        cluster=cluster,
    )  # fmt: skip


def _brief_stage3(values: dict[str, Any]) -> None:
    values["stage3"] |= {"steps": 4, "packs_per_step": 2, "save_every": 2}
    for rate in values["stage3"]["optimiser"]["rates"].values():
        rate["warmup_steps"] = 1


def _job_environment() -> dict[str, str]:
    """What jobs of these tests see beside the rest: they start from the environment of a login."""
    return {
        # Names of the emulated nodes are known to Slurm alone; all of them are this machine.
        "MASTER_ADDR": "127.0.0.1",
        "GLOO_SOCKET_IFNAME": "lo",
        "DS_ACCELERATOR": "cpu",
        "OMP_NUM_THREADS": "1",
        **{name: os.environ[name] for name in ("XDG_CACHE_HOME", "DVC_SITE_CACHE_DIR")},
    }


def _run(argv: list[str], folder: Path, variables: Mapping[str, str] | None = None) -> str:
    environment = {
        **os.environ, **(variables or {}),
        "GIT_AUTHOR_NAME": "test", "GIT_AUTHOR_EMAIL": "test@example.org", "GIT_COMMITTER_NAME": "test",
        "GIT_COMMITTER_EMAIL": "test@example.org", "DVC_NO_ANALYTICS": "1",
    }  # fmt: skip
    done = subprocess.run(argv, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{argv} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout
