"""Sizes of the Molmo2 family, as facts: one frozen record per preset.

Source: molmo2 spec section 1. `tiny` is ours: it trains on two CPU cores in a minute.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

PresetName = Literal["tiny", "nano", "4b", "8b", "o7b"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Preset:
    """Widths of the three components, and where their published weights come from.

    initial_std: standard deviations of random weights (vit, connector, llm), and position_std of the vit's positional
    embedding. A narrow network needs larger ones than the library's 0.02: with 0.02 the image features enter a hundred
    times smaller than the token embeddings, and the place of a patch drowns in its colour.

    qk_norm: queries and keys are normalised per head ("qwen3") or over all heads at once ("olmo"). norm_after: a block
    normalises what it adds to the stream instead of what it reads.
    """

    hidden_size: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn: int
    vit_hidden: int = 1152
    vit_layers: int = 25
    vit_heads: int = 16
    vit_ffn: int = 4304
    vit_feature_layers: tuple[int, ...] = (24, 18)
    vocab_size: int = 151_936
    rope_theta: float = 1_000_000.0
    qk_norm: Literal["qwen3", "olmo"] = "qwen3"
    norm_after: bool = False
    initial_std: tuple[float, float, float] = (0.02, 0.02, 0.02)
    position_std: float = 0.02
    llm: str | None = None
    vision: str | None = None
    published: str | None = None


_SIGLIP2 = "google/siglip2-so400m-patch14-384"

PRESETS: dict[str, Preset] = {
    "tiny": Preset(
        hidden_size=96,
        layers=4,
        heads=4,
        kv_heads=2,
        head_dim=24,
        ffn=288,
        vit_hidden=64,
        vit_layers=3,
        vit_heads=4,
        vit_ffn=256,
        vit_feature_layers=(2, 1),
        vocab_size=512,
        rope_theta=10_000.0,
        initial_std=(0.08, 0.12, 0.05),
        position_std=0.6,
    ),
    "nano": Preset(
        hidden_size=1024,
        layers=28,
        heads=16,
        kv_heads=8,
        head_dim=128,
        ffn=3072,
        llm="Qwen/Qwen3-0.6B",
        vision=_SIGLIP2,
    ),
    "4b": Preset(
        hidden_size=2560,
        layers=36,
        heads=32,
        kv_heads=8,
        head_dim=128,
        ffn=9728,
        llm="Qwen/Qwen3-4B",
        vision=_SIGLIP2,
        published="allenai/Molmo2-4B",
    ),
    "8b": Preset(
        hidden_size=4096,
        layers=36,
        heads=32,
        kv_heads=8,
        head_dim=128,
        ffn=12288,
        llm="Qwen/Qwen3-8B",
        vision=_SIGLIP2,
        published="allenai/Molmo2-8B",
    ),
    "o7b": Preset(
        hidden_size=4096,
        layers=32,
        heads=32,
        kv_heads=32,
        head_dim=128,
        ffn=11008,
        # The tokenizer's 100,278 entries, padded to a multiple of 256.
        vocab_size=100_352,
        rope_theta=500_000.0,
        qk_norm="olmo",
        norm_after=True,
        llm="allenai/Olmo-3-7B-Instruct",
        vision=_SIGLIP2,
        published="allenai/Molmo2-O-7B",
    ),
}
