"""A degree that does not fit a model is refused from its configuration, before anything is built."""

from __future__ import annotations

from typing import Any

import pytest
from transformers import Gemma3TextConfig, GPTNeoXConfig, Molmo2Config

from trackyard.errors import ConfigError
from trackyard.feed.geometry import VisionGeometry
from trackyard.models.context_degree import check_context
from trackyard.models.molmo2 import build_config
from trackyard.models.presets import PRESETS
from trackyard.plan.context import Share

NEOX = GPTNeoXConfig(num_attention_heads=16, hidden_size=2048)
GEMMA = Gemma3TextConfig(num_attention_heads=8, num_key_value_heads=4, head_dim=256)


def molmo2() -> Molmo2Config:
    return build_config(PRESETS["4b"], VisionGeometry(), vocab_size=151_936, max_positions=36_864)


@pytest.mark.parametrize(
    ("config", "degree", "share"),
    [
        (molmo2(), 8, Share(tokens=4_608, heads=4, kv_heads=1)),
        (molmo2(), 16, Share(tokens=2_304, heads=2, kv_heads=1, kv_copies=2)),
        (NEOX, 16, Share(tokens=2_304, heads=1, kv_heads=1)),
        (GEMMA, 4, Share(tokens=9_216, heads=2, kv_heads=1)),
        (GEMMA, 8, Share(tokens=4_608, heads=1, kv_heads=1, kv_copies=2)),
        (GEMMA, 1, Share(tokens=36_864, heads=8, kv_heads=4)),
    ],
)
def test_what_one_rank_holds(config: Any, degree: int, share: Share) -> None:
    assert check_context(config, degree=degree, world=2 * degree, length=36_864) == share


@pytest.mark.parametrize(
    ("config", "degree", "world", "reason"),
    [
        (GEMMA, 16, 16, "8 attention heads do not divide over 16 ranks"),
        (molmo2(), 5, 5, "32 attention heads do not divide over 5 ranks"),
        (molmo2(), 8, 12, "1 data-parallel ranks of 8 are not 12 processes"),
        (NEOX, 0, 1, "degree 0"),
    ],
)
def test_what_does_not_divide_is_refused(config: Any, degree: int, world: int, reason: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_context(config, degree=degree, world=world, length=36_864)
    assert reason in caught.value.what


def test_a_pack_of_any_length_is_padded_and_so_divides() -> None:
    assert check_context(GEMMA, degree=4, world=4, length=1_001).tokens == 256
