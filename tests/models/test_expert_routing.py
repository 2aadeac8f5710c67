from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from tests.models.knob_models import DENSE, DEPTH, EXPERTS, ROUTED, ROUTING, logits, made, per_token
from trackyard.errors import ConfigError
from trackyard.models.expert_routing import expert_count, routed
from trackyard.models.knobs import decoder_blocks


def _used(model: Any) -> list[int]:
    """Experts that a token was sent to, of each router in order, as its experts were told."""
    seen: list[int] = []
    experts = [part for name, part in model.named_modules() if name.endswith(".experts")]
    hooks = [part.register_forward_pre_hook(lambda _part, inputs: seen.append(inputs[1].shape[-1])) for part in experts]
    logits(model)
    for hook in hooks:
        hook.remove()
    assert len(seen) == len(experts) > 0
    return seen


@pytest.mark.parametrize("family", ROUTING)
def test_a_level_acts_on_every_router_and_ends_with_its_context(family: str) -> None:
    model = made(family)
    offered = DEPTH if family == "mixtral" else EXPERTS
    assert (expert_count(model), per_token(model)) == (offered, {ROUTED})
    stock = logits(model)
    assert set(_used(model)) == {ROUTED}
    found = []
    for k in range(1, offered + 1):
        with routed(model, k):
            assert set(_used(model)) == {k}
            assert per_token(model) == {k}
            found.append(logits(model))
    assert torch.equal(found[ROUTED - 1], stock), "the level that a model was made with is the model"
    assert not torch.allclose(found[0], found[-1])
    with pytest.raises(KeyError), routed(model, 1):
        raise KeyError
    assert set(_used(model)) == {ROUTED}
    assert torch.equal(logits(model), stock)


@pytest.mark.parametrize("family", ["mixtral", "olmoe", "qwen3_moe"])
def test_the_configuration_says_it_too(family: str) -> None:
    model = made(family)
    with routed(model, 1):
        assert model.config.num_experts_per_tok == 1
    assert model.config.num_experts_per_tok == ROUTED


def test_control_the_configuration_alone_does_nothing() -> None:
    model = made("olmoe")
    stock = logits(model)
    model.config.num_experts_per_tok = 1
    assert set(_used(model)) == {ROUTED}
    assert torch.equal(logits(model), stock)


def test_a_token_sent_to_all_experts_gets_their_weighted_sum() -> None:
    model = made("molmo2_with_experts")
    block: Any = decoder_blocks(model)[0]
    mixture = block.mlp
    hidden_NTD = torch.randn(2, 5, mixture.gate.hidden_dim, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        share_NTE = torch.softmax(hidden_NTD @ mixture.gate.weight.T, dim=-1)
        dense = torch.zeros_like(hidden_NTD)
        for number in range(EXPERTS):
            gate, up = (hidden_NTD @ mixture.experts.gate_up_proj[number].T).chunk(2, dim=-1)
            out = (nn.functional.silu(gate) * up) @ mixture.experts.down_proj[number].T
            dense += share_NTE[..., number : number + 1] * out
        with routed(model, EXPERTS):
            torch.testing.assert_close(mixture(hidden_NTD), dense, rtol=1e-5, atol=1e-6)
        assert not torch.allclose(mixture(hidden_NTD), dense, rtol=1e-3, atol=1e-4), "control: fewer are less"


@pytest.mark.parametrize("family", DENSE)
def test_a_dense_model_has_no_such_knob(family: str) -> None:
    model = made(family)
    assert expert_count(model) is None
    assert per_token(model) == set()
    with pytest.raises(ConfigError, match="no routed experts") as refused, routed(model, 1):
        pass
    assert "leave the knob" in refused.value.fix


@pytest.mark.parametrize("k", [0, -1, EXPERTS + 1])
def test_levels_beyond_the_experts_are_refused(k: int) -> None:
    with pytest.raises(ConfigError, match=f"{k} experts per token"), routed(made("olmoe"), k):
        pass


def test_routers_that_are_missing_doubled_or_different_are_refused() -> None:
    hidden = made("olmoe")
    del hidden.model.layers[3].mlp.gate.top_k
    with pytest.raises(ConfigError, match=r"at blocks \[3\]"):
        expert_count(hidden)
    doubled = made("olmoe")
    doubled.model.layers[1].mlp.second = doubled.model.layers[2].mlp.gate
    with pytest.raises(ConfigError, match=r"at blocks \[1\]"), routed(doubled, 1):
        pass
    mixed = made("olmoe")
    mixed.model.layers[4].mlp.gate.top_k = 1
    with pytest.raises(ConfigError, match="settings differ"):
        expert_count(mixed)
