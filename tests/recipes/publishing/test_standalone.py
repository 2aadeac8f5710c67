"""Published files, run where this project cannot be found, give the tokens that this project gives."""

from __future__ import annotations

import importlib.util
import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.feed.gemma_tokenizer import gemma_tokenizer
from tests.models.theworld.tiny import LATENT, SIDE, gemma, world
from tests.recipes.publishing.stranger import ask_stranger
from tests.tiny_vaes import facts, random_vae
from trackyard.feed.gemma_pixels import gemma_pixels
from trackyard.feed.resized import decode_resized
from trackyard.models.theworld.batch import WorldSample
from trackyard.models.theworld.generation import generate
from trackyard.models.theworld.loading import trained_tensors
from trackyard.models.theworld.parameters import WorldParameters
from trackyard.models.world_encoders.encoder import WorldEncoder
from trackyard.recipes.datacomp.training.export import write_export
from trackyard.recipes.publishing.publication import standalone

QUESTION = "Which one is left? (A) (B)"
NEW = 12
WAYS: dict[str, dict[str, Any]] = {
    "insert": {},
    "spatial, seen whole": {"mode": "spatial", "projector": "linear", "block": "bidirectional"},
    "channel": {"mode": "channel", "projector": "mlp_gelu_out", "placement": "before_text"},
    "stats": {"mode": "stats", "projector": "mlp_gelu_out", "placement": "before_text", "block": "bidirectional"},
    "added": {"mode": "pooled4", "fusion": "add"},
    "soft prompt": {"soft_prompt": True},
    "trained Gemma": {"thaw": ("gemma_vision", "gemma_language")},
}
KINDS = {"insert": "AutoencoderKLCosmos"}


def picture(seed: int, kind: str, size: tuple[int, int] = (150, 131)) -> bytes:
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)).resize(size)
    stream = io.BytesIO()
    coarse.save(stream, kind)
    return stream.getvalue()


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("pictures")
    given = {"a.png": picture(1, "PNG"), "b.jpg": picture(2, "JPEG", (128, 128))}
    for name, data in given.items():
        (folder / name).write_bytes(data)
    return [folder / name for name in given]


def published(folder: Path, way: str, pictures: list[Path]) -> list[list[int]]:
    """Write a folder as `trackyard publish` does, and what this project answers with the same weights."""
    settings = dict(WAYS[way])
    soft, thaw = settings.pop("soft_prompt", False), settings.pop("thaw", ())
    parameters = WorldParameters(**settings)
    kind = KINDS.get(way, "AutoencoderKLWan")
    random_vae(folder / "vae", kind)
    encoder_facts = facts(folder / "vae", size=128)
    assert encoder_facts.shape == LATENT
    model, builder = world(parameters, window=20, soft_prompt=soft, thaw=thaw, on=gemma(20))
    base = gemma(20)
    if model.world is not None and hasattr(model.world, "alpha"):
        with torch.no_grad():
            model.world.alpha.fill_(0.7)
    with torch.no_grad():
        for name, weight in model.thawed.named_parameters():
            weight.mul_(1.1 if name.endswith("weight") else 1.0)
    base.save_pretrained(folder)
    gemma_tokenizer().save_pretrained(folder)
    (folder / "projector").mkdir()
    belongs = {
        "world": parameters.model_dump(mode="json"),
        "latents": {"shape": list(LATENT), "preprocessing": encoder_facts.preprocessing},
    }
    r_text = model.world.r_text  # type: ignore[union-attr]
    write_export(folder / "projector", trained_tensors(model), belongs=belongs, r_text=r_text, lineage={})
    (folder / "theworld.py").write_text(standalone("theworld.py"))
    encoder = WorldEncoder.open(folder / "vae", encoder_facts)
    samples = []
    for path in pictures:
        data = path.read_bytes()
        latent = encoder.encode(decode_resized(data, path.name, 128, 128)[None]).astype(np.float16)
        samples.append(WorldSample(builder.build(QUESTION), gemma_pixels(data, path.name, SIDE)[None], latent))
    return generate(model, samples, NEW, batch=1)


def named(whole: Path, target: Path) -> Path:
    """The same folder without base models, which `base.json` names."""
    target.mkdir()
    shutil.copytree(whole / "projector", target / "projector")
    shutil.copy(whole / "theworld.py", target)
    place = {"id": str(whole), "revision": "main"}
    (target / "base.json").write_text(json.dumps({"gemma": place, "vae": place | {"subfolder": "vae"}}))
    return target


@pytest.mark.system
def test_theworld_answers_as_this_project_does(tmp_path: Path, pictures: list[Path]) -> None:
    """Every way to make and place world tokens, with windows that do not hold the prompt."""
    wanted, folders = {}, {}
    for number, way in enumerate(WAYS):
        folders[way] = tmp_path / str(number)
        folders[way].mkdir()
        wanted[way] = published(folders[way], way, pictures)
    folders["named"], wanted["named"] = named(folders["insert"], tmp_path / "named"), wanted["insert"]
    body = """
from pathlib import Path
found = {}
for way, folder in arguments["folders"].items():
    model = load(folder + "/theworld.py").TheWorld()
    found[way] = [model.answer(path, arguments["question"], arguments["new"]) for path in arguments["pictures"]]
return found
"""
    arguments = {
        "folders": {way: str(folder) for way, folder in folders.items()}, "question": QUESTION, "new": NEW,
        "pictures": [str(path) for path in pictures],
    }  # fmt: skip
    found = ask_stranger(body, arguments, tmp_path)
    assert found == wanted
    answers = {tuple(map(tuple, one)) for one in wanted.values()}
    # What a way changes, it changes in an answer: or its agreement would prove nothing.
    assert len(answers) >= len(WAYS) - 1
    assert not list((tmp_path / "named").glob("*.safetensors"))
    assert all(any(one) for one in wanted.values())


def test_the_isolation_is_real(tmp_path: Path) -> None:
    """An ordinary process finds the project; the stranger does not, and a published file that needs it fails there."""
    assert importlib.util.find_spec("trackyard") is not None
    assert ask_stranger("return importlib.util.find_spec('trackyard') is None", None, tmp_path) is True
    with pytest.raises(AssertionError, match="No module named 'trackyard'"):
        ask_stranger("import trackyard.digest", None, tmp_path)


def test_published_files_import_nothing_of_the_project() -> None:
    for name in ("theworld.py", "answer.py", "generate.py"):
        assert "trackyard" not in standalone(name)
