from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

from tests.models.tiny_families import tiny
from trackyard.evaluate.attacks.budgets import generator
from trackyard.evaluate.order.ffn import LARGEST, SMALLEST, _rises, direct_check, rise, share_in_order

IDS = [[5, 6, 7], [8, 9, 10, 11, 12, 13, 14], [15], [16, 17, 18, 19]]


def part(activation: nn.Module, *, negative: bool = False) -> nn.Module:
    torch.manual_seed(0)
    found = nn.Sequential(nn.Linear(8, 32), activation, nn.Linear(32, 8))
    with torch.no_grad():
        for layer in (found[0], found[2]):
            layer.weight.abs_()
        if negative:
            found[2].weight[3].neg_()
    return found


@pytest.mark.parametrize(
    ("activation", "negative", "holds"),
    [
        (nn.ReLU(), False, lambda share: share == 1.0),
        (nn.Sigmoid(), False, lambda share: share == 1.0),
        (nn.GELU(), False, lambda share: share < 0.999),
        (nn.SiLU(), False, lambda share: share < 0.999),
        (nn.ReLU(), True, lambda share: share < 0.999),
    ],
)
def test_a_monotone_part_keeps_every_order_and_a_dip_does_not(
    activation: nn.Module, negative: bool, holds: Callable[[float], bool]
) -> None:
    """GELU and SiLU fall where their input is below -0.752 and -1.278, whatever the weights are."""
    torch.manual_seed(1)
    h, delta = torch.randn(500, 8).double() - 1.4, 0.1 * torch.rand(500, 8).double()
    assert holds(float(share_in_order(rise(part(activation, negative=negative), h, delta)).mean()))


def test_the_part_is_left_as_it_is_and_computed_in_double() -> None:
    layer = nn.Linear(4, 4)
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    h, delta = torch.full((1, 4), 1e6).double(), torch.full((1, 4), 1e-3).double()
    expected = delta @ before["weight"].double().T
    torch.testing.assert_close(rise(layer, h, delta), expected, rtol=1e-4, atol=0)
    single = layer(h.float() + delta.float()) - layer(h.float())
    assert not torch.allclose(single.double(), expected, rtol=1e-2), "fp32 would show its rounding"
    assert all(
        torch.equal(value, before[name]) and value.dtype == torch.float32 for name, value in layer.state_dict().items()
    )


def nonneg(activation: str) -> Any:
    """A GPT-NeoX whose feed-forward matrices have no negative entry."""
    torch.manual_seed(0)
    model = GPTNeoXForCausalLM(
        GPTNeoXConfig(
            vocab_size=96, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
            hidden_act=activation, initializer_range=0.1,
        )
    ).eval()  # fmt: skip
    with torch.no_grad():
        for layer in model.gpt_neox.layers:
            layer.mlp.dense_h_to_4h.weight.abs_()
            layer.mlp.dense_4h_to_h.weight.abs_()
            layer.mlp.dense_h_to_4h.bias.fill_(-1.4)
    return model


def check(model: Any, **changes: Any) -> Any:
    return direct_check(model, IDS, **({"samples": 64, "batch": 3, "seed": 42, "resamples": 100} | changes))


def test_non_negative_matrices_keep_the_order_with_relu_and_not_with_gelu() -> None:
    """No arm is order-preserving by theorem: pile-ffn spec section 1."""
    ordered, dipped = check(nonneg("relu")), check(nonneg("gelu"))
    assert [(found.layer, found.samples, found.share, found.without_residual) for found in ordered] == [
        (1, 64, 1.0, 1.0),
        (2, 64, 1.0, 1.0),
    ]
    assert all(found.without_residual < 1.0 for found in dipped)


@pytest.mark.parametrize("family", ["gpt_neox", "llama", "qwen2"])
def test_the_identity_hides_what_small_weights_do(family: str) -> None:
    """Random parts keep about half of the order; with the identity of F nearly all of it."""
    for found in check(tiny(family)):
        assert found.share > 0.85
        assert 0.3 < found.without_residual < 0.7
        assert found.ci95.low <= found.share <= found.ci95.high


def test_no_result_depends_on_the_batch_and_all_on_the_seed() -> None:
    model = tiny("gpt_neox")
    first, second, other = check(model), check(model, batch=64), check(model, seed=1337)
    for ours, theirs in zip(first, second, strict=True):
        assert ours.share == pytest.approx(theirs.share, abs=1e-3)
    assert first != other


def test_rises_are_none_below_0_and_of_all_sizes() -> None:
    h = 3 * torch.randn(4000, 16, generator=torch.Generator().manual_seed(0)).double()
    delta = _rises(h, generator(42, "test"))
    assert bool((delta >= 0).all())
    sizes = delta.square().mean(dim=1).sqrt() / h.square().mean(dim=1).sqrt()
    assert SMALLEST / 2 < float(sizes.min()) < 2 * SMALLEST
    assert LARGEST / 2 < float(sizes.max()) < 2 * LARGEST
