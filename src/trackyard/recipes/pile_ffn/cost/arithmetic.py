"""Bytes, operations and hours of the study as formulas. Source: pile-ffn spec section 13, with its golden values."""

from __future__ import annotations

import math

PACKED_ROWS = 65_536
"""Largest vocabulary whose ids are stored in 16 bits."""
PADDED_TOKENS, USEFUL_TOKENS, REFERENCE_HOURS = 5 * 90_000 * 2_048, 314_200_000, 23.26
"""The published run of one arm on one A100 with 80 GB: what it computed, what of it was text, and how long it took."""


def packed_bytes(tokens: int, vocabulary: int) -> int:
    """Of token shards."""
    return tokens * (2 if vocabulary <= PACKED_ROWS else 4)


def state_bytes(parameters: int) -> int:
    """Of a checkpoint: fp32 weights and two moments."""
    return 12 * parameters


def export_bytes(parameters: int) -> tuple[int, int]:
    """Of a plain model in bf16 and in fp32."""
    return 2 * parameters, 4 * parameters


def token_flops(parameters: int) -> tuple[int, int]:
    """Of training, per token; and with every layer computed again in the backward pass."""
    return 6 * parameters, 8 * parameters


def reference_rate(*, useful: bool = False) -> float:
    """Tokens per second of the published run; useful: without its padding."""
    return (USEFUL_TOKENS if useful else PADDED_TOKENS) / (REFERENCE_HOURS * 3600)


def hours(tokens: float, rate: float) -> float:
    """Of so many tokens at `rate` tokens per second."""
    return tokens / rate / 3600


def legacy_steps(epochs: int, *, documents: int = 90_000, batch: int = 8, accumulation: int = 4) -> int:
    """Updates of the published training: one document per row."""
    return epochs * math.ceil(math.ceil(documents / batch) / accumulation)
