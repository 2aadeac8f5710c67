"""Folders as subjects: what they answer, and what is refused. Nothing asks a hub: the tests' hub does not exist."""

from __future__ import annotations

import json
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.evaluate.answering.families import SmallProcessor, case, causal, gemma, molmo2, tokens_of
from tests.feed.gemma_tokenizer import gemma_tokenizer
from tests.tiny_molmo2 import GEOMETRY, VIDEO, VOCABULARY, tokens
from trackyard.errors import ConfigError, DataError
from trackyard.evaluate.answering.causal import CausalSubject
from trackyard.evaluate.answering.engine import answer
from trackyard.evaluate.answering.gemma import Gemma3Subject
from trackyard.evaluate.answering.molmo2 import Molmo2Subject
from trackyard.evaluate.answering.open_subject import Precision, folder_digest, open_subject
from trackyard.models.presets import PRESETS
from trackyard.models.routed_molmo2 import Experts, make_routed
from trackyard.publish.export import write_export

CPU = torch.device("cpu")


def opened(folder: Path, precision: Precision = "fp32") -> Any:
    return open_subject(folder, device=CPU, precision=precision)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    write_export(root / "molmo2", molmo2().model, tokens(), GEOMETRY, VIDEO)
    gemma().model.save_pretrained(root / "gemma")
    gemma_tokenizer().save_pretrained(root / "gemma")
    SmallProcessor.of().save_pretrained(root / "gemma")
    causal("qwen3").model.save_pretrained(root / "causal")
    tokens().tokenizer.save_pretrained(root / "causal")
    return root


@pytest.mark.parametrize(
    ("name", "family", "kind"),
    [("molmo2", "molmo2", Molmo2Subject), ("gemma", "gemma", Gemma3Subject), ("causal", "qwen3", CausalSubject)],
)
def test_a_folder_answers_as_the_model_that_was_saved(folders: Path, name: str, family: str, kind: Any) -> None:
    found: Any = opened(folders / name)
    assert isinstance(found, kind)
    assert found.name == name
    assert found.digest == folder_digest(folders / name)
    subject, prompts = case(family)
    assert subject.eos - found.eos, "of the folder, not of the test"
    found.eos = subject.eos
    assert tokens_of(list(answer(found, prompts[:4], batch=4))) == tokens_of(
        list(answer(subject, prompts[:4], batch=4))
    )


def test_the_geometry_is_that_of_the_export(folders: Path) -> None:
    found = opened(folders / "molmo2")
    assert (found.geometry, found.video) == (GEOMETRY, VIDEO)
    assert found.eos == {tokens().eos}


def test_bf16_keeps_the_frequencies_of_positions(folders: Path) -> None:
    for name in ("molmo2", "gemma", "causal"):
        found = opened(folders / name, "bf16")
        assert {weight.dtype for weight in found.model.parameters()} == {torch.bfloat16}
        frequencies = [buffer for at, buffer in found.model.named_buffers() if at.endswith("inv_freq")]
        assert frequencies
        assert all(buffer.dtype == torch.float32 for buffer in frequencies), name
    subject, prompts = case("molmo2")
    found = opened(folders / "molmo2", "bf16")
    assert len(dict(answer(found, prompts[:4], batch=4))) == 4


def test_a_routed_model_is_opened_by_its_own_loader(tmp_path: Path) -> None:
    preset = PRESETS["tiny"]
    made = make_routed(preset, Experts(experts=4, per_token=2, width=16), GEOMETRY, max_positions=320, seed=1)
    assert preset.vocab_size == VOCABULARY, "else the tokenizer does not fit"
    write_export(tmp_path / "routed", made, tokens(), GEOMETRY, VIDEO)
    found = opened(tmp_path / "routed")
    assert type(found.model).__name__ == "RoutedMolmo2"
    _, prompts = case("molmo2")
    answers = tokens_of(list(answer(found, prompts, batch=1)))
    assert tokens_of(list(answer(found, prompts, batch=7))) == answers


def damaged(folder: Path, to: Path, change: Any) -> Path:
    copytree(folder, to)
    weights = load_file(to / "model.safetensors")
    change(weights)
    save_file(weights, to / "model.safetensors", metadata={"format": "pt"})
    return to


@pytest.mark.parametrize("name", ["molmo2", "gemma", "causal"])
def test_missing_and_stray_weights_are_refused(folders: Path, tmp_path: Path, name: str) -> None:
    weights = load_file(folders / name / "model.safetensors")
    some = next(at for at in sorted(weights) if at.endswith("weight") and "norm" in at)
    with pytest.raises(DataError, match="does not hold exactly the weights"):
        opened(damaged(folders / name, tmp_path / "missing", lambda body: body.pop(some)))
    with pytest.raises(DataError, match="does not hold exactly the weights"):
        opened(damaged(folders / name, tmp_path / "stray", lambda body: body.update({"stray.weight": torch.ones(2)})))


def test_folders_that_are_no_model_are_refused(folders: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no readable config\.json"):
        opened(tmp_path)
    for name, wanted, kind in (
        ("model.safetensors", r"holds no \.safetensors file", DataError),
        ("tokenizer.json", "no readable tokenizer", DataError),
    ):
        broken = copytree(folders / "causal", tmp_path / name)
        (broken / name).unlink()
        with pytest.raises(kind, match=wanted):
            opened(broken)
    bare = copytree(folders / "gemma", tmp_path / "bare")
    (bare / "preprocessor_config.json").unlink()
    with pytest.raises(DataError, match="no readable configuration of an image processor"):
        opened(bare)
    (tmp_path / "vision").mkdir()
    (tmp_path / "vision" / "config.json").write_text(json.dumps({"model_type": "siglip_vision_model"}))
    with pytest.raises(ConfigError, match="of the kind 'siglip_vision_model'"):
        opened(tmp_path / "vision")


def test_the_digest_is_of_what_decides_answers(folders: Path, tmp_path: Path) -> None:
    copy = copytree(folders / "causal", tmp_path / "copy")
    (copy / "README.md").write_text("a card\n")
    assert folder_digest(copy) == folder_digest(folders / "causal")
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"rms_norm_eps": 1e-5}))
    assert folder_digest(copy) != folder_digest(folders / "causal")
