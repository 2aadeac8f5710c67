"""The parts of one answer's time. Source: nine-datasets spec sections 7 and 8 (latency.jsonl)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

LEAST_TOLERANCE_MS, TOLERANCE = 1.0, 0.02
"""By how much the sum of the parts may differ from the whole: 1 ms, or 2 % of the whole where that is more."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Timing:
    """Milliseconds of one answer.

    t_pre_ms: host work before the device has anything to do, no part of the whole. t_vision_ms: vision tower and
    connector. t_prefill_ms: the language model until the first token's logits are ready. t_decode_ms: from there to the
    last token, 0 for one token. t_total_ms: of vision to last token, by a clock of its own. n_prompt: with the visual
    placeholders, of which n_visual carry a feature. tokens: the answer, with the end token if it was reached, so that
    `n_out` tokens are n_out - 1 steps.
    """

    t_pre_ms: float
    t_vision_ms: float
    t_prefill_ms: float
    t_decode_ms: float
    t_total_ms: float
    n_visual: int
    n_prompt: int
    tokens: tuple[int, ...]

    @property
    def n_out(self) -> int:
        """Tokens that were put out."""
        return len(self.tokens)

    @property
    def t_first_ms(self) -> float:
        """To the first token's logits: the part that no answer's length changes."""
        return self.t_vision_ms + self.t_prefill_ms

    @property
    def valid(self) -> bool:
        """Whether the parts make up the whole. What they leave out is work that no mark waited for, or another's."""
        parts = self.t_first_ms + self.t_decode_ms
        return abs(parts - self.t_total_ms) <= max(LEAST_TOLERANCE_MS, TOLERANCE * self.t_total_ms)

    def to_json(self) -> dict[str, Any]:
        """The fields of a line of latency.jsonl, without those that say whose line it is."""
        return {
            "t_pre_ms": self.t_pre_ms,
            "t_vision_ms": self.t_vision_ms,
            "t_prefill_ms": self.t_prefill_ms,
            "t_decode_ms": self.t_decode_ms,
            "t_total_ms": self.t_total_ms,
            "n_visual": self.n_visual,
            "n_prompt": self.n_prompt,
            "n_out": self.n_out,
            "valid": self.valid,
        }
