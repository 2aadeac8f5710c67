"""A Molmo2 with sparse blocks: random weights by seed, a folder that comes back bit for bit, nothing left random."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file, save_file
from transformers import OlmoeConfig
from transformers.models.olmoe.modeling_olmoe import OlmoeSparseMoeBlock

from tests.models.knob_models import per_token
from tests.tiny_molmo2 import GEOMETRY, model
from trackyard.errors import ConfigError, DataError
from trackyard.models.expert_routing import expert_count, routed
from trackyard.models.knobs import decoder_blocks
from trackyard.models.molmo2 import parameter_counts
from trackyard.models.presets import PRESETS
from trackyard.models.routed_molmo2 import ROUTED, Experts, RoutedMolmo2, load_routed, make_routed

EXPERTS = Experts(experts=6, per_token=3, width=8)
PRESET = PRESETS["tiny"]
POSITIONS = 256


def small(seed: int = 0) -> RoutedMolmo2:
    return make_routed(PRESET, EXPERTS, GEOMETRY, max_positions=POSITIONS, seed=seed)


def equal(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    states = one.state_dict(), other.state_dict()
    return states[0].keys() == states[1].keys() and all(
        torch.equal(states[0][name], states[1][name]) for name in states[0]
    )


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("routed")
    small().save_pretrained(directory)
    return directory


def damaged(saved: Path, to: Path, change: Any) -> Path:
    """A copy whose tensors `change` has edited in place."""
    to.mkdir()
    tensors = load_file(saved / "model.safetensors")
    change(tensors)
    save_file(tensors, to / "model.safetensors", metadata={"format": "pt"})
    (to / "config.json").write_bytes((saved / "config.json").read_bytes())
    return to


def logits(of: torch.nn.Module, ids: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        found: torch.Tensor = of.eval()(input_ids=ids).logits
    return found


def test_random_weights_depend_on_the_seed_only_and_none_is_forgotten() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = small(seed=1)
    assert torch.equal(torch.rand(3), expected), "the global generator moved"
    assert equal(first, small(seed=1))
    assert not equal(first, small(seed=2))
    experts: Any = decoder_blocks(first)[0].mlp
    assert experts.gate.weight.std().item() == pytest.approx(PRESET.initial_std[2], rel=0.1)
    assert experts.experts.down_proj.std() > experts.experts.gate_up_proj.std()
    assert {parameter.dtype for parameter in first.parameters()} == {torch.float32}
    assert all(parameter.isfinite().all() for parameter in first.parameters())


def test_knobs_find_what_they_turn() -> None:
    made = small()
    assert (expert_count(made), per_token(made)) == (EXPERTS.experts, {EXPERTS.per_token})
    assert len(decoder_blocks(made)) == PRESET.layers
    assert parameter_counts(made)["llm"] != parameter_counts(model())["llm"]
    ids = torch.arange(12)[None]
    usual = logits(made, ids)
    with routed(made, 1):
        assert not torch.equal(logits(made, ids), usual)
    assert torch.equal(logits(made, ids), usual)


def test_a_block_is_the_stock_sparse_block() -> None:
    """The same numbers as OLMoE's block of its own configuration, expert by expert."""
    ours: Any = decoder_blocks(small())[1].mlp
    config = OlmoeConfig(
        hidden_size=PRESET.hidden_size, intermediate_size=EXPERTS.width, num_experts=6, num_experts_per_tok=3
    )
    config._experts_implementation = "eager"
    stock = OlmoeSparseMoeBlock(config)
    stock.load_state_dict(ours.state_dict())
    hidden_NLD = torch.randn(2, 5, PRESET.hidden_size)
    torch.testing.assert_close(ours(hidden_NLD), stock(hidden_NLD))
    with torch.no_grad():
        stock.gate.weight.neg_()
    assert not torch.allclose(ours(hidden_NLD), stock(hidden_NLD), atol=1e-3)


def test_a_folder_comes_back_bit_for_bit(saved: Path) -> None:
    config = json.loads((saved / "config.json").read_text())
    assert config[ROUTED] == {"experts": 6, "per_token": 3, "width": 8}
    again = load_routed(saved, max_positions=2 * POSITIONS)
    assert equal(again, small())
    assert again.config.text_config.max_position_embeddings == 2 * POSITIONS
    assert load_routed(saved, max_positions=8).config.text_config.max_position_embeddings == POSITIONS
    ids = torch.arange(9)[None]
    assert torch.equal(logits(again, ids), logits(small(), ids))


def test_missing_surplus_and_misshapen_experts_are_refused(saved: Path, tmp_path: Path) -> None:
    name = "model.transformer.blocks.1.mlp.experts.down_proj"
    assert name in load_file(saved / "model.safetensors")

    def cut(tensors: dict[str, torch.Tensor]) -> None:
        tensors[name] = tensors[name][:-1].clone()

    changes: dict[str, Any] = {
        "missing": lambda tensors: tensors.pop(name),
        "surplus": lambda tensors: tensors.update({name.replace("1", "9"): torch.zeros(2)}),
        "misshapen": cut,
    }
    for kind, change in changes.items():
        with pytest.raises(DataError, match="does not hold exactly the weights"):
            load_routed(damaged(saved, tmp_path / kind, change), max_positions=8)


def test_other_folders_are_refused(saved: Path, tmp_path: Path) -> None:
    dense = tmp_path / "dense"
    model().save_pretrained(dense)
    with pytest.raises(DataError, match="names no experts"):
        load_routed(dense, max_positions=8)
    odd = damaged(saved, tmp_path / "odd", lambda tensors: None)
    config = json.loads((odd / "config.json").read_text())
    (odd / "config.json").write_text(json.dumps(config | {ROUTED: {"experts": 6, "per_token": 3, "widht": 8}}))
    with pytest.raises(ConfigError, match="width"):
        load_routed(odd, max_positions=8)


def test_more_experts_per_token_than_there_are_is_refused() -> None:
    with pytest.raises(ValidationError, match="per_token=7"):
        Experts(experts=6, per_token=7, width=8)
