"""Tiny random models of each family, and documents for them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from transformers import (
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from trackyard.evaluate.attacks.budgets import AttackBudget
from trackyard.evaluate.attacks.outcome import Documents
from trackyard.evaluate.attacks.pool import TokenPool

VOCABULARY, LENGTH = 40, 14
SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
    "intermediate_size": 64, "initializer_range": 0.3, "max_position_embeddings": 64,
}  # fmt: skip


def built(kind: Any, config: Any, *, seed: int = 0) -> Any:
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    return kind(config).eval()


def neox(*, seed: int = 0) -> Any:
    return built(GPTNeoXForCausalLM, GPTNeoXConfig(**SIZES), seed=seed)


SLIDING = built(
    Qwen2ForCausalLM,
    Qwen2Config(**SIZES, num_key_value_heads=2, use_sliding_window=True, sliding_window=5, max_window_layers=1),
)
MODELS = {
    "gpt_neox": neox(),
    "llama": built(LlamaForCausalLM, LlamaConfig(**SIZES, num_key_value_heads=2)),
    "qwen2": built(Qwen2ForCausalLM, Qwen2Config(**SIZES, num_key_value_heads=2)),
}
BUDGET = AttackBudget(
    restarts=2, iterations=4, candidates=6, opt_docs=3, eval_docs=3, flip_docs=4, query_docs=4, trigger_tokens=3,
    flips=3, greedy_candidates=4, query_candidates=5, random_triggers=2,
)  # fmt: skip
POOL = TokenPool.of(range(2, VOCABULARY))


def documents(count: int = 4, *, seed: int = 0, length: int = LENGTH) -> Documents:
    random = torch.Generator().manual_seed(seed)
    ids = torch.randint(0, VOCABULARY, (count, length), generator=random)
    return Documents(doc_ids=tuple(f"d{seed}-{number}" for number in range(count)), ids_NT=ids)


def plain_losses(net: Any, ids_NT: torch.Tensor) -> torch.Tensor:
    """Losses by the plainest code there is: one document at a time, log-softmax in fp64."""
    found = torch.zeros(ids_NT.shape, dtype=torch.float64)
    with torch.no_grad():
        for row, ids_T in enumerate(ids_NT):
            logits_TV = net(input_ids=ids_T[None], use_cache=False).logits[0].double()
            for place in range(1, len(ids_T)):
                found[row, place] = -logits_TV[place - 1].log_softmax(-1)[ids_T[place]]
    return found


class Unigram(torch.nn.Module):
    """A model whose predictions ignore what it reads."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.embedding = torch.nn.Embedding(VOCABULARY, 8)
        self.logits_V = torch.nn.Parameter(torch.randn(VOCABULARY))
        self.eval()

    def get_input_embeddings(self) -> torch.nn.Embedding:
        return self.embedding

    def forward(self, input_ids: Any = None, inputs_embeds: Any = None, **_: Any) -> SimpleNamespace:
        shape = inputs_embeds.shape[:2] if input_ids is None else input_ids.shape
        none = 0.0 if inputs_embeds is None else 0.0 * inputs_embeds.sum()
        return SimpleNamespace(logits=self.logits_V.expand(*shape, -1) + none, past_key_values=None)
