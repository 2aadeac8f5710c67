"""A study in a folder of its own that can be swept: everything real, small, and made once for all tests of a session.

    study = tiny_study(tmp_path)                                        # questions, model, importance and sweep
    study = tiny_study(tmp_path, {"accuracy.batch": 2})                 # values by dotted path, as in params.yaml
    accuracy(study, None, silent)                                       # four configurations, two tasks, 12 questions

The model has learnt next to nothing: what it answers is text all the same, another one under every configuration.
"""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
import yaml

from trackyard.parameters import parse_parameters
from trackyard.recipes.nine.data import data
from trackyard.recipes.nine.model import model
from trackyard.recipes.nine.parameters import NineParameters
from trackyard.recipes.nine.study import Study
from trackyard.recipes.nine.sweeping.importance import importance
from trackyard.recipes.nine.sweeping.planning import sweep
from trackyard.record.code import CodeIdentity

ROOT = Path(__file__).resolve().parents[3]
EVALUATED = 6
TASKS = ("tally_qa", "science_qa_img")
CAP = 6
"""New tokens of every task: an untrained model seldom ends by itself."""
SMALL: dict[str, Any] = {
    "tasks": list(TASKS),
    "data": {"fixture": {"seed": 0, "evaluated": EVALUATED}},
    "model": {
        "precision": "fp32",
        "made": {
            "layers": 4, "hidden": 32, "heads": 2, "kv_heads": 1, "experts": 4, "per_token": 3, "expert_width": 8,
            "vit_hidden": 16, "vit_heads": 1, "vit_ffn": 32, "vocabulary": 384, "max_positions": 512,
            "geometry": {"crop_size": 32, "patch_size": 8, "margin": [1, 1], "image_pooling": 2, "video_pooling": 3,
                         "max_crops": 4},
            "crops": [1, 4], "routes": [2, 3], "skipped": [0, 1], "rows": 90, "steps": 6, "rows_per_step": 2,
            "learning_rate": 1e-2,
        },
    },
    "knobs": {"visual": [1, 4], "experts": None, "blocks": [0.75, 1.0], "strategy": "full"},
    "accuracy": {"batch": 4, "chunk": 256, "most_failed": 0, "most_capped": 1.0},
    "latency": {"samples": 2, "ending": "natural", "warmup": 3},
    "importance": {"rows": 4},
    "threads": 1,
    "resamples": 100,
}  # fmt: skip


def changed(changes: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The small parameters with values by dotted path; those of a whole group replace it."""
    values: dict[str, Any] = yaml.safe_load(yaml.safe_dump(SMALL))
    for path, value in (changes or {}).items():
        *groups, name = path.split(".")
        inner = values
        for group in groups:
            inner = inner[group]
        inner[name] = value
    return values


def tiny_study(root: Path, changes: Mapping[str, Any] | None = None) -> Study:
    """A copy of the study below `root`, planned, with `changes` to its parameters."""
    shutil.copytree(_made(), root, dirs_exist_ok=True)
    return study_at(root, changes)


def study_at(root: Path, changes: Mapping[str, Any] | None = None) -> Study:
    """The study that lies there."""
    values = changed(changes)
    (root / "params.yaml").write_text(yaml.safe_dump({"nine": values}))
    study = Study(root=root, parameters=parse_parameters(NineParameters, values, where="params.yaml: nine"))
    # A folder that is no checkout has no code of its own.
    study.__dict__["code"] = CodeIdentity(commit="c" * 40, dirty_digest=None)
    return study


def write_definitions(root: Path) -> None:
    """Catalogue and tasks as they are shipped, but for the length of answers."""
    root.mkdir(parents=True, exist_ok=True)
    shutil.copytree(ROOT / "catalog", root / "catalog")
    listed = yaml.safe_load((ROOT / "tasks" / "nine.yaml").read_text())
    for task in listed["tasks"]:
        task["new_tokens"] = CAP
    (root / "tasks").mkdir()
    (root / "tasks" / "nine.yaml").write_text(yaml.safe_dump(listed, sort_keys=False))


def silent(_line: str) -> None:
    """Nobody listens."""


class Told(list[str]):
    """What a stage says, for tests of it."""

    def __call__(self, line: str) -> None:
        self.append(line)


def files(folder: Path, names: Sequence[str] = ("samples.jsonl",)) -> dict[str, bytes]:
    """Bytes of the files of these names below `folder`, by path."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for name in names for path in sorted(folder.rglob(name))
    }


@cache
def _made() -> Path:
    folder = tempfile.mkdtemp(prefix="trackyard-tiny-nine-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    root = Path(folder) / "study"
    write_definitions(root)
    study = study_at(root)
    torch.set_num_threads(1)
    for stage in (data, model, importance, sweep):
        stage(study, silent)
    return root
