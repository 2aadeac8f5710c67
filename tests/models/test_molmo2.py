"""Building and loading the stock class: random weights from the seed alone, and no weight left random unnoticed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.tiny_molmo2 import GEOMETRY, LENGTH, VOCABULARY, model, tokens
from trackyard.errors import ConfigError, DataError
from trackyard.models.molmo2 import ADDED_ROWS, check_fits, component_of, load_molmo2, parameter_counts, random_model

GLOBAL_SEED = 11


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("molmo2")
    model().save_pretrained(directory)
    return directory


def damaged(saved: Path, to: Path, change: Any) -> Path:
    """A copy whose tensors `change` has edited in place."""
    to.mkdir()
    tensors = load_file(saved / "model.safetensors")
    change(tensors)
    save_file(tensors, to / "model.safetensors", metadata={"format": "pt"})
    (to / "config.json").write_bytes((saved / "config.json").read_bytes())
    return to


def equal(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    states = one.state_dict(), other.state_dict()
    return states[0].keys() == states[1].keys() and all(
        torch.equal(states[0][name], states[1][name]) for name in states[0]
    )


def test_random_weights_depend_on_the_seed_only() -> None:
    first = model(seed=3)
    torch.manual_seed(GLOBAL_SEED)
    expected = torch.rand(4)
    torch.manual_seed(GLOBAL_SEED)
    again = model(seed=3)
    assert torch.equal(torch.rand(4), expected), "the global generator moved"
    assert equal(first, again)
    assert not equal(first, model(seed=4))
    assert {parameter.dtype for parameter in first.parameters()} == {torch.float32}


def test_tiny_is_tiny_and_each_component_starts_at_its_own_width() -> None:
    tiny = model()
    counts = parameter_counts(tiny)
    assert sum(counts.values()) == sum(parameter.numel() for parameter in tiny.parameters()) < 1_000_000
    weights = dict(tiny.named_parameters())
    for name, std in (
        ("model.vision_tower.layers.0.mlp.fc1.weight", 0.08),
        ("model.vision_tower.positional_embedding", 0.6),
        ("model.multi_modal_projector.image_projector.gate_proj.weight", 0.12),
        ("model.language_model.layers.3.mlp.gate_proj.weight", 0.05),
        ("lm_head.weight", 0.05),
    ):
        assert weights[name].std().item() == pytest.approx(std, rel=0.1), name


def test_heights_of_the_tables() -> None:
    tiny = model()
    assert tiny.lm_head.weight.shape[0] == VOCABULARY == tiny.config.text_config.vocab_size
    assert tiny.model.language_model.embed_tokens.weight.shape[0] == VOCABULARY + ADDED_ROWS


def test_components() -> None:
    assert component_of("model.vision_tower.layers.0.mlp.fc1.bias") == "vit"
    assert component_of("model.multi_modal_projector.image_projector.up_proj.weight") == "connector"
    assert component_of("model.language_model.norm.weight") == component_of("lm_head.weight") == "llm"
    with pytest.raises(ValueError, match="no component"):
        component_of("model.audio_tower.weight")


def test_an_export_loads_bit_for_bit(saved: Path) -> None:
    loaded = load_molmo2(saved, max_positions=1)
    assert equal(loaded, model())
    assert loaded.config.text_config.max_position_embeddings == LENGTH, "never lowered"  # type: ignore[union-attr]


def test_positions_are_raised_to_what_the_stage_needs(saved: Path) -> None:
    loaded: Any = load_molmo2(saved, max_positions=4 * LENGTH)
    assert loaded.config.text_config.max_position_embeddings == 4 * LENGTH
    ids = torch.arange(4 * LENGTH)[None] % VOCABULARY
    with torch.inference_mode():
        assert torch.isfinite(loaded.eval()(input_ids=ids, logits_to_keep=1).logits).all()


@pytest.mark.parametrize(
    "lost",
    [
        "lm_head.weight",
        "model.transformer.wte.new_embedding",
        "model.transformer.blocks.3.self_attn.att_proj.weight",
        "model.transformer.blocks.0.self_attn.q_norm.weight",
        "model.vision_backbone.image_projector.w2.weight",
    ],
)
def test_a_missing_weight_is_refused(saved: Path, tmp_path: Path, lost: str) -> None:
    broken = damaged(saved, tmp_path / "broken", lambda tensors: tensors.pop(lost))
    with pytest.raises(DataError, match=r"does not hold exactly the weights of Molmo2: .*(missing|mismatched)_keys"):
        load_molmo2(broken, max_positions=1)


def test_a_weight_without_a_place_is_refused(saved: Path, tmp_path: Path) -> None:
    broken = damaged(saved, tmp_path / "broken", lambda tensors: tensors.update(stray=torch.zeros(3)))
    with pytest.raises(DataError, match="stray"):
        load_molmo2(broken, max_positions=1)


def test_a_weight_of_another_shape_is_refused(saved: Path, tmp_path: Path) -> None:
    broken = damaged(saved, tmp_path / "broken", lambda tensors: tensors.update({"lm_head.weight": torch.zeros(5, 96)}))
    with pytest.raises(DataError, match=r"lm_head\.weight"):
        load_molmo2(broken, max_positions=1)


def test_a_model_that_fits_is_accepted() -> None:
    check_fits(model(), tokens(), GEOMETRY)


@pytest.mark.parametrize(
    "name",
    [
        "image_start_token_id",
        "image_end_token_id",
        "image_patch_id",
        "low_res_image_start_token_id",
        "frame_start_token_id",
        "frame_end_token_id",
    ],
)
def test_a_wrong_id_is_named(name: str) -> None:
    wrong = model()
    right = getattr(wrong.config, name)
    setattr(wrong.config, name, 7)
    with pytest.raises(ConfigError) as caught:
        check_fits(wrong, tokens(), GEOMETRY)
    assert caught.value.what == f"the model and the preprocessing disagree: {name}: model 7, data {right}"


def test_every_disagreement_is_named() -> None:
    other = GEOMETRY.model_copy(update={"crop_size": 48, "patch_size": 12})
    wrong = random_model("tiny", other, max_positions=8, seed=0)
    wrong.config.text_config.vocab_size = VOCABULARY - 1  # type: ignore[union-attr]
    with pytest.raises(ConfigError) as caught:
        check_fits(wrong, tokens(), GEOMETRY)
    assert "vocab_size: model 511, data 512" in caught.value.what
    assert "image_size: model (48, 48), data (32, 32)" in caught.value.what
    assert "patch_size: model 12, data 8" in caught.value.what
