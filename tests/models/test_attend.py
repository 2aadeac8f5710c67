"""Our attention function on one rank: what transformers' own computes, in rows where the mask is large."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from trackyard.errors import ConfigError
from trackyard.models import attend


class Layer(torch.nn.Module):
    num_key_value_groups = 2
    is_causal = True


def inputs(length: int, seed: int = 0) -> tuple[torch.Tensor, ...]:
    torch.manual_seed(seed)
    query = torch.randn(2, 4, length, 8, requires_grad=True)
    key, value = (torch.randn(2, 2, length, 8, requires_grad=True) for _ in range(2))
    mask = (torch.rand(2, 1, length, length) < 0.3) | torch.eye(length, dtype=torch.bool)
    return query, key, value, mask


def gradients(function: Any, length: int) -> list[torch.Tensor]:
    """Output and gradients of a weighted sum of it."""
    query, key, value, mask = inputs(length)
    output = function(Layer(), query, key, value, mask, scaling=0.3)[0]
    (output * torch.linspace(-1, 1, output.numel()).view_as(output)).sum().backward()
    return [output, *(part.grad for part in (query, key, value))]


def test_it_is_the_attention_of_transformers_bit_for_bit() -> None:
    for found, wanted in zip(gradients(attend.attend, 33), gradients(sdpa_attention_forward, 33), strict=True):
        assert torch.equal(found, wanted)


@settings(max_examples=10)
@given(st.integers(1, 70), st.integers(1, 40))
def test_rows_are_the_whole(length: int, rows: int) -> None:
    whole = gradients(attend.attend, length)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attend, "WHOLE", 0)
        patch.setattr(attend, "ROWS", rows)
        parts = gradients(attend.attend, length)
    for found, wanted in zip(parts, whole, strict=True):
        assert (found - wanted).abs().max() <= 1e-5


def test_a_missing_mask_is_refused() -> None:
    query, key, value, _ = inputs(4)
    with pytest.raises(ConfigError, match="Layer is called without a prepared mask"):
        attend.attend(Layer(), query, key, value, None, scaling=1.0)


def test_dropout_is_refused() -> None:
    query, key, value, mask = inputs(4)
    with pytest.raises(ConfigError, match=r"attention dropout of 0\.1"):
        attend.attend(Layer(), query, key, value, mask, scaling=1.0, dropout=0.1)
