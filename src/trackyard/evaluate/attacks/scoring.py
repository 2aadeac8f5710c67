"""Losses of many attacked documents, computed in batches that start where the attack starts.

A causal model gives a token the same keys and values whatever comes after it. So of a document that was run once, and
is then changed from position q on, only the tokens from q on are run again, over the remembered keys and values; rows
are sorted by q, so that those of a batch start close together. Where q lies is found by comparing tokens, never
claimed by the caller. Source: pile-ffn spec sections 7 (fp32, TF32 off), 8.2 and 8.3.

Shapes: N documents of T tokens; R rows of T tokens; Q leading positions that are kept; D hidden size.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from transformers.cache_utils import DynamicCache, DynamicLayer

from trackyard.errors import ConfigError
from trackyard.evaluate.attacks.metric import next_token_losses

BATCH_TOKENS = 4096
"""Tokens of a batch. Their logits exist at once: 0.8 GB in fp32 with the 50,304 rows of Pythia."""

REUSE_FROM = 8
"""Less than one part in so many of a document is not worth reusing: with a cache, attention goes by an explicit mask
and cannot leave out the half that lies in the future."""

KeysAndValues = tuple[tuple[torch.Tensor, torch.Tensor], ...]
"""Per layer, [N, heads, Q, head size] each."""


@dataclass(frozen=True, kw_only=True)
class Remembered:
    """Documents as they were run: tokens and losses [N, T], keys and values of their first Q positions.

    kept: None where layers do not keep everything (sliding windows, recurrent states); then all is computed again.
    """

    ids_NT: torch.Tensor
    losses_NT: torch.Tensor
    kept: KeysAndValues | None


class Scorer:
    """A causal language model of transformers with fp32 weights, as attacks use it."""

    def __init__(
        self, model: torch.nn.Module, *, batch_tokens: int = BATCH_TOKENS, search: torch.dtype = torch.float32
    ) -> None:
        """search: precision of matrix products while searching; `exact` is fp32 always.

        ConfigError for a model whose losses would depend on more than weights and tokens, or would be rounded.
        """
        rounded = {str(weight.dtype) for weight in model.parameters()} - {"torch.float32"}
        if rounded or model.training or torch.get_float32_matmul_precision() != "highest":
            raise ConfigError(
                what=f"a model in {'training' if model.training else 'evaluation'} mode with weights in "
                f"{', '.join(sorted(rounded)) or 'fp32'} and matrix products in "
                f"{torch.get_float32_matmul_precision()!r} precision",
                why="losses of arms are compared to a millionth of a nat: dropout, bf16 weights and TF32 are noise",
                fix='load the fp32 export, call model.eval(), and torch.set_float32_matmul_precision("highest")',
            )
        stock: Any = model
        self.model = stock
        self.batch_tokens = batch_tokens
        self.device = next(model.parameters()).device
        self.embedding_VD: torch.Tensor = stock.get_input_embeddings().weight
        self._search = search

    def groups(self, documents: int, length: int) -> Iterator[slice]:
        """Documents that are remembered at the same time: at most a batch of tokens, at least one document."""
        size = max(1, self.batch_tokens // length)
        return (slice(start, min(start + size, documents)) for start in range(0, documents, size))

    @torch.inference_mode()
    def exact(self, ids_NT: torch.Tensor) -> torch.Tensor:
        """Losses [N, T] in fp32, whole documents: what is reported."""
        losses_NT = torch.zeros(ids_NT.shape, device=self.device)
        for rows in self.groups(*ids_NT.shape):
            ids = ids_NT[rows].to(self.device)
            losses_NT[rows, 1:] = next_token_losses(self._run(ids[:, :-1]).logits, ids[:, 1:])
        return losses_NT

    @torch.inference_mode()
    def remember(self, ids_NT: torch.Tensor) -> Remembered:
        """Run documents once and keep what their beginnings are worth."""
        ids_NT = ids_NT.to(self.device)
        with self._searching():
            found = self._run(ids_NT[:, :-1], use_cache=True)
        losses_NT = torch.zeros(ids_NT.shape, device=self.device)
        losses_NT[:, 1:] = next_token_losses(found.logits, ids_NT[:, 1:])
        return Remembered(ids_NT=ids_NT, losses_NT=losses_NT, kept=_kept(found.past_key_values, ids_NT.shape[1]))

    def gradients(
        self, ids_NT: torch.Tensor, counted_NT: torch.Tensor, *, leading: int
    ) -> tuple[Remembered, torch.Tensor]:
        """Run documents; besides, the gradient [N, Q, D] of the summed loss of counted targets by input embeddings.

        leading: Q, at most T - 1, the positions that may be attacked: the last token has no effect on any target. All N
        are run at once.
        """
        ids_NT = ids_NT.to(self.device)
        inputs_NTD = self.embedding_VD.detach()[ids_NT[:, :-1]].requires_grad_()
        with self._searching():
            found = self.model(inputs_embeds=inputs_NTD, use_cache=True)
        losses_NT = torch.nn.functional.pad(next_token_losses(found.logits, ids_NT[:, 1:]), (1, 0))
        objective = torch.where(counted_NT.to(self.device), losses_NT, 0.0).sum()
        (gradient_NTD,) = torch.autograd.grad(objective, inputs_NTD)
        remembered = Remembered(ids_NT=ids_NT, losses_NT=losses_NT.detach(), kept=_kept(found.past_key_values, leading))
        return remembered, gradient_NTD[:, :leading].detach()

    @torch.inference_mode()
    def losses(self, rows_RT: torch.Tensor, of_R: torch.Tensor, remembered: Remembered) -> torch.Tensor:
        """Losses [R, T] of attacked documents.

        of_R: the remembered document that each row was made from. A row equal to it has exactly its losses.
        """
        losses_RT = remembered.losses_NT[of_R]
        length = rows_RT.shape[1]
        changed_RT = rows_RT != remembered.ids_NT[of_R]
        first_R = torch.where(changed_RT.any(dim=1), changed_RT.int().argmax(dim=1), length)
        # The token before the first changed one decides what that one costs, so a row starts there.
        start_R = (first_R - 1).clamp(min=0, max=_length(remembered.kept))
        start_R = torch.where(start_R * REUSE_FROM < length, 0, start_R)
        order_R = torch.argsort(start_R, stable=True)
        order_R = order_R[first_R[order_R] < length]
        starts = start_R[order_R].tolist()
        begin = 0
        while begin < len(starts):
            start = starts[begin]
            size = max(1, self.batch_tokens // max(1, length - 1 - start))
            rows_B = order_R[begin : begin + size]
            ids_BT = rows_RT[rows_B]
            kept = _taken(remembered.kept, of_R[rows_B], start)
            with self._searching():
                found = self._run(ids_BT[:, start:-1], past_key_values=kept, use_cache=kept is not None)
            losses_RT[rows_B, start + 1 :] = next_token_losses(found.logits, ids_BT[:, start + 1 :])
            begin += size
        return losses_RT

    def _run(self, ids_NT: torch.Tensor, *, use_cache: bool = False, past_key_values: Any = None) -> Any:
        return self.model(input_ids=ids_NT, past_key_values=past_key_values, use_cache=use_cache)

    def _searching(self) -> torch.autocast:
        return torch.autocast(self.device.type, dtype=self._search, enabled=self._search != torch.float32)


def _kept(cache: Any, leading: int) -> KeysAndValues | None:
    """Keys and values of the first `leading` positions; None unless every layer holds those of all positions."""
    if cache is None or any(type(layer) is not DynamicLayer for layer in cache.layers):
        return None
    return tuple((layer.keys[:, :, :leading].detach(), layer.values[:, :, :leading].detach()) for layer in cache.layers)


def _length(kept: KeysAndValues | None) -> int:
    return kept[0][0].shape[2] if kept else 0


def _taken(kept: KeysAndValues | None, of_B: torch.Tensor, start: int) -> DynamicCache | None:
    """The first `start` positions of the documents that rows were made from, as a cache of their own."""
    if kept is None or start == 0:
        return None
    return DynamicCache([(keys[of_B, :, :start], values[of_B, :, :start]) for keys, values in kept])
