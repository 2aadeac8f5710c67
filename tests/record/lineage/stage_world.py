"""The checkout of `small_world` with DVC stages around its two exports, and a toy pipeline whose table comes of them.

    data/ ──> stage1 ──> stage2 ──> toy:train@left, toy:train@right ──> toy:table   (toy:later never ran)

DVC itself runs the stages, once; tests change copies.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from dvc.repo import Repo

from tests.record.lineage.small_world import World, make_world
from trackyard.digest import digest_file, digest_json
from trackyard.record.lineage.links import Link

TABLE = "artifacts/toy/results"
PARAMETERS: Mapping[str, Any] = {"toy": {"arms": ["left", "right"], "steps": 3, "optimiser": {"lr": 0.1, "warmup": 2}}}
STAGES: Mapping[str, Any] = {
    "stage1": {
        "desc": "the first export",
        "cmd": "mkdir -p artifacts && cp -r stash/stage1 artifacts/stage1",
        "deps": ["data/charts", "src/trackyard"],
        "params": ["toy.steps", "toy.optimiser"],
        "outs": ["artifacts/stage1"],
    },
    "stage2": {
        "cmd": "cp -r stash/stage2 artifacts/stage2",
        "deps": ["data", "src/trackyard", "requirements.lock", "artifacts/stage1"],
        "outs": ["artifacts/stage2"],
    },
}
TOY: Mapping[str, Any] = {
    "declare": {
        "cmd": "mkdir -p artifacts/toy && cp -r stash/parameters artifacts/toy/parameters",
        "deps": ["src/trackyard"],
        "params": ["toy"],
        "outs": ["artifacts/toy/parameters"],
    },
    "train": {
        "matrix": {"arm": "${toy.arms}"},
        "cmd": "mkdir -p artifacts/toy/train/${item.arm} && echo ${item.arm} > artifacts/toy/train/${item.arm}/scores",
        "deps": ["artifacts/toy/parameters/train.json", "artifacts/stage2"],
        "outs": ["artifacts/toy/train/${item.arm}"],
    },
    "table": {
        "desc": "the table <of all arms>",
        "cmd": "cat artifacts/toy/train/*/scores | tee artifacts/toy/metrics.csv > table.csv"
        " && mkdir -p artifacts/toy/results/pages && cp table.csv artifacts/toy/results"
        " && mv table.csv artifacts/toy/results/pages/figure.svg",
        "deps": ["artifacts/toy/train"],
        "outs": [TABLE, {"artifacts/toy/metrics.csv": {"cache": False}}],
    },
    "later": {"cmd": "false", "deps": [TABLE], "outs": ["artifacts/toy/later"]},
}


def make_stage_world(root: Path) -> World:
    """The world, with everything but `later` made by DVC."""
    world = make_world(root)
    (root / "stash").mkdir()
    for name in ("stage1", "stage2"):
        (root / "artifacts" / name).rename(root / "stash" / name)
    package = root / "src" / "trackyard"
    package.mkdir()
    (package / "code.py").write_text("answer = 42\n")
    (package / "data.txt").write_text("not Python\n")
    declare(root / "stash" / "parameters", digest_json({"code.py": digest_file(package / "code.py")}))
    (root / "params.yaml").write_text(yaml.safe_dump(dict(PARAMETERS)))
    (root / "dvc.yaml").write_text(yaml.safe_dump({"stages": dict(STAGES)}))
    toy = root / "pipelines" / "toy"
    toy.mkdir(parents=True)
    stages = {name: {"wdir": "../..", **stage} for name, stage in TOY.items()}
    (toy / "dvc.yaml").write_text(yaml.safe_dump({"vars": ["../../params.yaml"], "stages": stages}))
    (root / ".dvcignore").write_text("__pycache__/\n")
    with contextlib.chdir(root), Repo.init(str(root)) as repo:
        repo.add(["data"])
        repo.reproduce(["pipelines/toy/dvc.yaml:table"])
    return world


def declare(folder: Path, code: str) -> None:
    """What a track's parameter file states of a stage."""
    folder.mkdir(exist_ok=True)
    body = {"schema": "trackyard-toy-parameters/1", "results": {"train": {"steps": 3}}, "code": code, "libs": {}}
    (folder / "train.json").write_text(json.dumps(body))


def copied(root: Path, to: Path) -> Path:
    """A copy to change. Modification times are kept: nothing may be found by them."""
    shutil.copytree(root, to, symlinks=True)
    return to


def by_name(chain: Link) -> dict[str, Link]:
    return {link.name: link for link in chain.walk()}
