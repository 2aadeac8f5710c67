"""A study in a folder of its own that can be trained: everything real, small, and made once for all tests of a session.

    study = tiny_study(tmp_path)                                        # models, images, samples and latents
    study = tiny_study(tmp_path, {"training.epochs": 4})                # values by dotted path, as in params.yaml
    train(study, Cell(name="world", seed=42), say, PARAMETERS)          # 12 steps in about a second

Gemma is of random weights after a few lessons, too few to answer anything; the VAE, the pictures (24 scenes from the
mini track's own server), the samples and their latents are as the stages leave them.
"""

from __future__ import annotations

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import torch

from tests.recipes.datacomp.mini_parameters import changed
from trackyard.recipes.datacomp.base import made_gemma
from trackyard.recipes.datacomp.base.models import models
from trackyard.recipes.datacomp.evaluating.items import Item, write_items
from trackyard.recipes.datacomp.ingest.curating import curate
from trackyard.recipes.datacomp.ingest.downloading import download
from trackyard.recipes.datacomp.ingest.metadata import metadata
from trackyard.recipes.datacomp.ingest.selecting import select
from trackyard.recipes.datacomp.latents.encoding import latents
from trackyard.recipes.datacomp.scenes import jpeg, scene
from trackyard.recipes.datacomp.study import Study
from trackyard.record.code import CodeIdentity

PARAMETERS = Path("params.yaml")
"""What a stage is told; only ranks of its own would read it."""
SAMPLES = 24
SMALL: dict[str, Any] = {
    "gemma.made": {"layers": 2, "hidden": 32, "heads": 2, "ffn": 64, "steps": 4, "batch": 2, "vocabulary": 512},
    "vae.made": {"size": 128, "seed": 0},
    "vae.shard_images": 8,
    "data.source.mini_rows": 48,
    "data.samples": SAMPLES,
    "data.block_rows": 64,
    "data.images.urls_per_shard": 32,
    "evaluation.sets": ["blink"],
    "training.epochs": 4,
    "training.samples_per_step": 8,
    "training.learning_rate": 1e-3,
    "training.warmup_steps": 2,
    "training.save_every": 6,
    "engine.micro_batch": 4,
    "engine.log_every": 2,
}  # fmt: skip


def tiny_study(root: Path, changes: dict[str, Any] | None = None) -> Study:
    """A copy of the study below `root`, with `changes` to its parameters."""
    shutil.copytree(_made(), root, dirs_exist_ok=True)
    return study_at(root, changes)


def study_at(root: Path, changes: dict[str, Any] | None = None) -> Study:
    study = Study(root=root, parameters=changed(SMALL | (changes or {})))
    # A folder that is no checkout has no code of its own.
    study.__dict__["code"] = CodeIdentity(commit="c" * 40, dirty_digest=None)
    return study


def silent(_line: str) -> None:
    """Nobody listens."""


@cache
def _made() -> Path:
    folder = tempfile.mkdtemp(prefix="trackyard-tiny-datacomp-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    study = study_at(Path(folder))
    torch.set_num_threads(1)
    _models(study)
    metadata(study, silent)
    select(study, silent)
    download(study, None, silent)
    item = Item(
        id="0", task="t", images=(jpeg(scene(99, 0), 120),), question="?", options=("(A)", "(B)"),
        gold="(A)", meta={},
    )  # fmt: skip
    write_items(study.items("blink"), iter([item]), refuse=lambda item: None)
    curate(study, silent)
    latents(study, None, silent)
    return study.root


def _models(study: Study) -> None:
    """As the stage, but for what a made Gemma has to know: here it knows nothing."""
    taught = made_gemma.LEAST_WITH, made_gemma.MOST_WITHOUT
    made_gemma.LEAST_WITH, made_gemma.MOST_WITHOUT = 0.0, 1.0
    try:
        models(study, silent)
    finally:
        made_gemma.LEAST_WITH, made_gemma.MOST_WITHOUT = taught
