"""A small repository with a graph of its own, and a site for it: real DVC and git, commands that take milliseconds.

in (data, in.dvc) -> first -> second -> items@a,b,c -> each@a,b,c -> joined
notes.txt (in git) -> other -> parts, which can be divided
                      other -> fetched, which needs the internet
pipelines/toy/dvc.yaml: alone
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from trackyard.launch.sites import Site

STAGES = """
stages:
  first:
    cmd: cp in/data.txt first.txt
    meta: {needs: train}
    deps: [in]
    params: [toy.rate, toy.size]
    outs: [first.txt]
  second:
    cmd: cp first.txt second.txt
    meta: {needs: train}
    deps: [first.txt]
    outs: [second.txt]
  items:
    matrix: {word: [a, b, c]}
    cmd: cp second.txt item-${item.word}.txt
    meta: {needs: gpu}
    deps: [second.txt]
    outs: ["item-${item.word}.txt"]
  each:
    matrix: {word: [a, b, c]}
    cmd: cp item-${item.word}.txt each-${item.word}.txt
    meta: {needs: gpu}
    deps: ["item-${item.word}.txt"]
    outs: ["each-${item.word}.txt"]
  joined:
    cmd: cp each-a.txt joined.txt
    meta: {needs: cpu}
    deps: [item-a.txt, each-a.txt, each-b.txt, each-c.txt]
    outs: [joined.txt]
  other:
    cmd: cp notes.txt other.txt
    meta: {needs: cpu}
    deps: [notes.txt]
    outs: [other.txt]
  parts:
    cmd: cp other.txt parts.txt
    meta: {needs: gpu, divided: true}
    deps: [other.txt]
    outs: [parts.txt]
  fetched:
    cmd: cp other.txt fetched.txt
    meta: {needs: network}
    deps: [other.txt]
    outs: [fetched.txt]
"""
PIPELINE = """
stages:
  alone:
    wdir: ../..
    cmd: cp notes.txt alone.txt
    meta: {needs: cpu}
    deps: [notes.txt]
    outs: [alone.txt]
"""
PARAMETERS = "toy: {rate: 1, size: 2}\n"

SITE = Site.model_validate(
    {
        "name": "toy",
        "scheduler": "slurm",
        "default_partition": "cores",
        "partitions": {
            "cores": {"device": "cpu", "cores_per_node": 4, "max_hours": 4},
            "gpus": {"device": "h100", "gpus_per_node": 2, "cores_per_node": 8, "max_hours": 4},
            "more": {"device": "h200", "gpus_per_node": 2, "cores_per_node": 8, "max_hours": 4},
        },
        "shapes": {
            "train": {"partition": "gpus", "tasks_per_node": 2, "gpus_per_node": 2, "minutes": 120},
            "gpu": {"partition": "gpus", "gpus_per_node": 1, "minutes": 60},
            "cpu": {"minutes": 30},
        },
        "jobs": {"array_at_once": 2},
    }
)
WITH_NETWORK = SITE.model_copy(
    update={"shapes": {**SITE.shapes, "network": SITE.shapes["cpu"]}, "compute_has_network": True}
)
WITH_ACCOUNT = SITE.model_copy(update={"account_variable": "TOY_ACCOUNT"})


def make_repository(root: Path) -> Path:
    """Nothing of it has run yet; all is committed to git."""
    root.mkdir(parents=True)
    (root / "dvc.yaml").write_text(STAGES)
    (root / "pipelines" / "toy").mkdir(parents=True)
    (root / "pipelines" / "toy" / "dvc.yaml").write_text(PIPELINE)
    (root / "params.yaml").write_text(PARAMETERS)
    (root / "notes.txt").write_text("notes")
    (root / "requirements.lock").write_text("nothing\n")
    (root / "in").mkdir()
    (root / "in" / "data.txt").write_text("data")
    git(root, "init", "--quiet")
    dvc(root, "init", "--quiet")
    dvc(root, "add", "--quiet", "in")
    git(root, "add", "--all")
    git(root, "-c", "user.name=Toy", "-c", "user.email=toy@example.org", "commit", "--quiet", "--message", "toy")
    return root


def copied(made: Path, root: Path) -> Path:
    shutil.copytree(made, root, symlinks=True)
    return root


def dvc(root: Path, *arguments: str) -> None:
    _run(root, sys.executable, "-m", "dvc", *arguments)


def git(root: Path, *arguments: str) -> None:
    _run(root, "git", *arguments)


def _run(root: Path, *argv: str) -> None:
    environment = {**os.environ, "DVC_NO_ANALYTICS": "1", "GIT_CONFIG_GLOBAL": os.devnull}
    done = subprocess.run(argv, cwd=root, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
