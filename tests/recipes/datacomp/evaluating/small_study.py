"""A study that can be evaluated: made items, a tiny Gemma with random weights, latents of noise, drawn exports.

Nothing is trained: what is tested is what an evaluation does with what it is given.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.feed.gemma_tokenizer import gemma_tokenizer
from tests.models.theworld.tiny import LATENT, gemma, prompts
from tests.recipes.datacomp.evaluating.asked import NoiseLatents
from tests.recipes.datacomp.mini_parameters import changed
from trackyard.digest import digest_file
from trackyard.models.theworld.branch import SoftPrompt, WorldBranch, r_text
from trackyard.models.theworld.loading import trained_tensors
from trackyard.models.theworld.model import TheWorld
from trackyard.recipes.datacomp.cells import Cell
from trackyard.recipes.datacomp.evaluating.eval_data import eval_data
from trackyard.recipes.datacomp.evaluating.items import eval_pictures
from trackyard.recipes.datacomp.latents import opening
from trackyard.recipes.datacomp.results import write_result
from trackyard.recipes.datacomp.study import Study
from trackyard.recipes.datacomp.training import export
from trackyard.snapshot.latent_facts import EncoderFacts
from trackyard.snapshot.latent_writer import LatentWriter

FACTS = EncoderFacts(
    repo="tiny", revision="made", weights="b" * 64, config="c" * 64, preprocessing="squash/1", shape=LATENT
)
ITEMS = 8


def make_study(root: Path, **changes: Any) -> Study:
    """Everything that the stages before an evaluation leave. changes: of the section `evaluation`."""
    study = Study(
        root=root, parameters=changed({f"evaluation.{name}": value for name, value in _small(changes).items()})
    )
    eval_data(study, lambda line: None)
    gemma().save_pretrained(study.gemma)
    gemma_tokenizer().save_pretrained(study.gemma)
    files = {path.name: digest_file(path) for path in sorted(study.gemma.iterdir())}
    facts = {"id": "tiny", "revision": "made", "parameters": {}, "made": None}
    header = study.header("models", None, inputs={}, device="cpu", wall_s=0.0)
    vae = {"diffusion_pytorch_model.safetensors": FACTS.weights}
    study.document("models").parent.mkdir(parents=True, exist_ok=True)
    write_result(
        study.document("models"), "models", header, {"gemma": {**facts, "files": files}, "vae": {**facts, "files": vae}}
    )
    _write_latents(study)
    for name in ("world", "soft_prompt"):
        for seed in study.parameters.seeds:
            _write_drawn(study, Cell(name=name, seed=seed))
    return study


def copied(study: Study, root: Path) -> Study:
    """The same with nothing measured yet, where a test may write."""
    shutil.copytree(study.root, root, dirs_exist_ok=True)
    return Study(root=root, parameters=study.parameters)


def train_again(study: Study, cell: Cell, *, thaw: Collection[str] = ()) -> None:
    """Other weights in the place of a cell's export. thaw: parts of Gemma that are trained too, all biases to 5."""
    shutil.rmtree(study.export(cell))
    _write_drawn(study, cell, more=7, thaw=thaw)


def instead_of_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """The encoder's facts are those of the noise."""
    for module in (opening, export):
        monkeypatch.setattr(module, "world_facts", lambda study: FACTS)
    monkeypatch.setenv("TRACKYARD_COMMIT", "ab" * 20)
    torch.set_num_threads(1)


def _small(changes: dict[str, Any]) -> dict[str, Any]:
    small = {
        "made_items": ITEMS,
        "batch": 8,
        "new_tokens": {"short": 3, "long": 5},
        "resamples": 100,
        "most_empty": 1.0,
    }
    return small | changes


def _write_drawn(study: Study, cell: Cell, *, more: int = 1, thaw: Collection[str] = ()) -> None:
    """An export of a run whose weights are those that another seed would start with."""
    kind = {"world": WorldBranch, "soft_prompt": SoftPrompt}[cell.name]
    stock, parameters = gemma(), study.parameters.world
    scale = r_text(stock, gemma_tokenizer())
    branch = kind.initial(parameters, LATENT, stock, scale, int(str(cell.seed)) + more)
    model = TheWorld(stock, branch, prompts(parameters).layout, thaw)
    tensors = trained_tensors(model)
    for name in tensors:
        if name.startswith("thawed.") and name.endswith(".bias"):
            tensors[name] = torch.full_like(tensors[name], 5.0)
    folder = study.export(cell)
    folder.mkdir(parents=True)
    belongs = export.describe(study, cell.name, FACTS)
    export.write_export(folder, tensors, belongs=belongs, r_text=scale, lineage={"seed": cell.seed})


def _write_latents(study: Study) -> None:
    def encode(images: Sequence[str]) -> Iterator[np.ndarray]:
        yield NoiseLatents().many(images).astype(np.float32)

    writer = LatentWriter(study.eval_latents, FACTS, [name for name, _ in eval_pictures(study)])
    for shard in writer.unfinished():
        writer.write(shard, encode)
    writer.finish(writer.assemble())
