"""What decays and what does not, on real AdamW steps."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.models.tiny_families import tiny
from tests.train.decay_groups import decay_groups
from trackyard.errors import ConfigError
from trackyard.models.nonneg import constrain
from trackyard.train.decay import FREE, MATRICES, OTHERS, components
from trackyard.train.parameters import ComponentRate, OptimiserParameters

RATE, DECAY = 0.1, 0.01


def optimiser(*names: str) -> OptimiserParameters:
    rates = {name: ComponentRate(learning_rate=RATE, warmup_steps=0) for name in names}
    return OptimiserParameters(rates=rates, beta2=0.999, eps=1e-8, weight_decay=DECAY)


def arm(family: str, variant: str) -> Any:
    model = tiny(family)
    constrain(model, variant, "nonneg")
    return model


@pytest.mark.parametrize(
    ("family", "variant", "free", "matrices", "others"),
    [
        # Of 2 layers: 4 matrices each and the head; biases and norms: 4 + 2 x 2 each, the last norm, the table.
        ("gpt_neox", "mlp_both", 4, 5, 2 * 8 + 2 + 1),
        # 7 matrices each and the head; 2 norms each, the last norm, the table.
        ("llama", "gated_updown", 4, 11, 2 * 2 + 1 + 1),
        # The head is the table; 3 biases besides.
        ("qwen2", "gated_all", 6, 8, 2 * 5 + 1 + 1),
    ],
)
def test_every_parameter_is_in_one_group(family: str, variant: str, free: int, matrices: int, others: int) -> None:
    model = arm(family, variant)
    groups = decay_groups(model, optimiser(FREE, MATRICES, OTHERS))
    assert [(group["name"], len(group["params"]), group["weight_decay"], group["eps"]) for group in groups] == [
        (FREE, free, 0.0, 1e-12),
        (MATRICES, matrices, DECAY, 1e-8),
        (OTHERS, others, 0.0, 1e-8),
    ]
    held = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(held) == sorted(id(parameter) for parameter in model.parameters())


def test_a_step_without_gradient_moves_only_what_decays() -> None:
    model = arm("gpt_neox", "mlp_both")
    adam = torch.optim.AdamW(decay_groups(model, optimiser(FREE, MATRICES, OTHERS)), fused=True)
    for group in adam.param_groups:
        group["lr"] = RATE
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    adam.step()
    of = components(model)
    for name, value in model.named_parameters():
        kept = 1 - RATE * DECAY if of[name] == MATRICES else 1.0
        assert torch.allclose(value, before[name] * kept, rtol=1e-6, atol=0), name
    assert of["gpt_neox.embed_in.weight"] == OTHERS
    assert of["embed_out.weight" if "embed_out.weight" in of else "lm_head.weight"] == MATRICES


def test_the_usual_epsilon_would_hold_small_weights_back() -> None:
    """Gradients of 1e-9, as V of small weights has: a step is of the size of the rate only with the small epsilon."""
    model = arm("gpt_neox", "mlp_in")
    groups = decay_groups(model, optimiser(FREE, MATRICES, OTHERS))
    adam = torch.optim.AdamW(groups, fused=True)
    before = {}
    for group in adam.param_groups:
        group["lr"], group["weight_decay"] = RATE, 0.0
        for parameter in group["params"]:
            before[parameter] = parameter.detach().clone()
            parameter.grad = torch.full_like(parameter, 1e-9)
    adam.step()
    moved = {
        group["name"]: (group["params"][0] - before[group["params"][0]]).abs().mean().item() / RATE for group in groups
    }
    assert moved[FREE] == pytest.approx(1, abs=0.01)
    assert moved[MATRICES] == pytest.approx(1 / 11, abs=0.01)


def test_an_arm_without_free_weights_has_no_rate_for_them() -> None:
    model = tiny("gpt_neox")
    constrain(model, "mlp_both", "absinit")
    assert [group["name"] for group in decay_groups(model, optimiser(MATRICES, OTHERS))] == [MATRICES, OTHERS]
    with pytest.raises(ConfigError, match=r"optimiser.rates names \['free'\]"):
        decay_groups(model, optimiser(FREE, MATRICES, OTHERS))
