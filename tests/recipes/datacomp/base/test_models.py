"""Published base models come at their commits, only the listed files; made ones are as the stock classes load them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.loopback.hub import LoopbackHub
from tests.recipes.datacomp.mini_parameters import changed
from tests.recipes.datacomp.tiny_study import silent, tiny_study
from trackyard.digest import digest_file
from trackyard.errors import DataError, IdentityError
from trackyard.models.theworld.branch import image_markers
from trackyard.recipes.datacomp.base.loading import base_facts, load_gemma, load_tokenizer, markers_from_files
from trackyard.recipes.datacomp.base.made_gemma import require_taught
from trackyard.recipes.datacomp.base.models import COUNTS, models, require_known
from trackyard.recipes.datacomp.study import Study
from trackyard.record.code import CodeIdentity

GEMMA, VAE = "made/gemma", "made/cosmos"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackHub]:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    with LoopbackHub() as found:
        yield found


def published(root: Path, hub: LoopbackHub, source: Study, **more: bytes) -> Study:
    """The made models of `source` as repositories of a hub, beside much that must not be asked for."""
    gemma = {path.name: path.read_bytes() for path in source.gemma.iterdir()}
    vae = {f"vae/{path.name}": path.read_bytes() for path in source.vae.iterdir()}
    unwanted = {
        "transformer/diffusion_pytorch_model.safetensors": b"2B",
        "text_encoder/model.safetensors": b"T5",
        "safety_checker/model.safetensors": b"guardrail",
        "vae/diffusion_pytorch_model.bin": b"pickled",
        "model_index.json": b"{}",
        "model.pt": b"pickled",
    }
    commits = (
        hub.add_repository(GEMMA, gemma | {"pytorch_model.bin": b"pickled"}, kind="model"),
        hub.add_repository(VAE, vae | unwanted | more, kind="model"),
    )
    study = Study(
        root=root,
        parameters=changed(
            {
                "gemma.id": GEMMA, "gemma.made": None, "gemma.revision": commits[0],
                "vae.id": VAE, "vae.made": None, "vae.revision": commits[1], "vae.size": 128,
            }
        ),
    )  # fmt: skip
    study.__dict__["code"] = CodeIdentity(commit="c" * 40, dirty_digest=None)
    return study


def test_nothing_but_the_listed_files_is_asked_for(tmp_path: Path, hub: LoopbackHub) -> None:
    made = tiny_study(tmp_path / "made")
    study = published(tmp_path / "study", hub, made)
    models(study, silent, endpoint=hub.url)
    asked = {
        request.resource
        for request in hub.log
        if request.resource.startswith((f"{GEMMA}/", f"{VAE}/")) and request.method == "GET"
    }
    assert {name for name in asked if name.startswith(f"{VAE}/")} == {
        f"{VAE}/vae/config.json",
        f"{VAE}/vae/diffusion_pytorch_model.safetensors",
    }
    assert not any(name.endswith((".bin", ".pt")) for name in asked)
    facts = base_facts(study)
    assert facts.gemma == f"{GEMMA}@{study.parameters.gemma.revision}"
    assert facts.vae_digest == digest_file(made.vae / "diffusion_pytorch_model.safetensors")
    assert load_tokenizer(study).get_vocab() == load_tokenizer(made).get_vocab()
    before, after = (load_gemma(one, torch.device("cpu")).state_dict() for one in (made, study))
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_rows_of_the_table_are_those_of_the_loaded_model(tmp_path: Path) -> None:
    study = tiny_study(tmp_path)
    cpu = torch.device("cpu")
    assert torch.equal(markers_from_files(study, cpu), image_markers(load_gemma(study, cpu)))


def test_a_missing_weight_is_never_drawn(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    study = tiny_study(tmp_path)
    path = study.gemma / "model.safetensors"
    tensors = load_file(path)
    gone = sorted(tensors)[0]
    save_file({name: tensor for name, tensor in tensors.items() if name != gone}, path, metadata={"format": "pt"})
    with pytest.raises(DataError, match="missing or without a place"):
        load_gemma(study, torch.device("cpu"))


@pytest.mark.parametrize("repo", sorted(COUNTS))
def test_a_known_model_has_the_counts_of_the_spec(repo: str) -> None:
    wanted = dict(COUNTS[repo])
    require_known(repo, wanted)
    assert sum(wanted.values()) in (4_300_079_472, 126_892_531)
    first = next(iter(wanted))
    with pytest.raises(IdentityError, match="has"):
        require_known(repo, wanted | {first: wanted[first] - 1})


def test_a_made_model_that_knows_nothing_is_refused() -> None:
    facts: dict[str, Any] = {"captions": {"with_words": 0.96, "without": 0.25}}
    require_taught(facts)
    for captions in ({"with_words": 0.5, "without": 0.25}, {"with_words": 1.0, "without": 0.6}):
        with pytest.raises(DataError, match=r"raise datacomp\.gemma\.made\.steps"):
            require_taught({"captions": captions})


def test_the_soft_token_is_the_last_one_and_reserved_ids_have_rows(tmp_path: Path) -> None:
    study = tiny_study(tmp_path)
    tokenizer, config = load_tokenizer(study), json.loads((study.gemma / "config.json").read_bytes())
    assert config["image_token_index"] == len(tokenizer) - 1
    assert config["text_config"]["vocab_size"] == len(tokenizer) + 64
