"""Packed text through stock language models, on one rank or on C ranks that share the packs.

Gemma 3, and Qwen2 where it is asked to, have layers that see a sliding window and layers that see everything;
transformers takes a mask for each kind.
Source: design section 7, molmo2 spec section 12, pile-ffn spec section 5.

Shapes: N packs of L tokens; C ranks; A targets; D hidden size.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.attention.flex_attention import BlockMask

from trackyard.errors import ConfigError
from trackyard.feed.tree import NO_TARGET, PADDING_EXAMPLE
from trackyard.feed.visibility import Visibility
from trackyard.models.attention import attention_mask, packed_length
from trackyard.models.context import ContextGroup, own_columns
from trackyard.models.sending import sent

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]

_ONE_MASK, _MASK_OF_A_KIND = ("gpt_neox", "llama"), ("gemma3_text", "qwen2")
FAMILIES = (*_ONE_MASK, *_MASK_OF_A_KIND)
"""Model types whose layers are known to take prepared masks and to pass on who shares a pack."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TextPacks:
    """N packs of L tokens; every array is [N, L].

    segments: any number that changes from document to document, below 0 at padding. positions: restart with each.
    targets[t] is what token t must predict, weights[t] its loss weight, 0 where nothing is learned.
    """

    input_ids: Ints
    positions: Ints
    segments: Ints
    targets: Ints
    weights: Floats

    @classmethod
    def of_windows(cls, windows: Ints, *, separator: int | None = None) -> TextPacks:
        """Windows of L + 1 tokens, each predicting the next one with weight 1.

        separator: the token that ends a document, which then neither sees another nor predicts its first token; None
        is one document a window.
        """
        tokens, targets = windows[:, :-1], windows[:, 1:].copy()
        weights = np.ones(tokens.shape, dtype=np.float32)
        segments, columns = np.zeros_like(tokens), np.arange(tokens.shape[1])
        starts = np.zeros_like(tokens)
        if separator is not None:
            ends = tokens == separator
            segments[:, 1:] = np.cumsum(ends[:, :-1], axis=1)
            starts[:, 1:] = np.maximum.accumulate(np.where(ends[:, :-1], columns[1:], 0), axis=1)
            weights[ends], targets[ends] = 0, NO_TARGET
        return cls(input_ids=tokens, positions=columns - starts, segments=segments, targets=targets, weights=weights)

    def padded(self, length: int) -> TextPacks:
        """Filled up to `length` tokens that see and teach nothing."""
        fill = length - self.input_ids.shape[1]
        if not fill:
            return self

        def filled(array: NDArray[Any], value: int) -> NDArray[Any]:
            return np.pad(array, ((0, 0), (0, fill)), constant_values=value)

        return replace(
            self,
            input_ids=filled(self.input_ids, 0),
            positions=filled(self.positions, 0),
            segments=filled(self.segments, PADDING_EXAMPLE),
            targets=filled(self.targets, NO_TARGET),
            weights=filled(self.weights, 0),
        )

    def visibility(self) -> Visibility:
        """Each token sees what comes before it in its own document."""
        changes = np.diff(self.segments, axis=1, prepend=self.segments[:, :1]) != 0
        # Numbered anew in rising order: the rule lets a lower number see a higher one.
        documents = np.where(self.segments < 0, PADDING_EXAMPLE, np.cumsum(changes, axis=1))
        return Visibility.of(documents, documents, np.zeros_like(changes))


@dataclass(frozen=True, kw_only=True, slots=True)
class Answers:
    """What a loss is computed from: hidden states [A, D] where something is learned, targets [A] and weights [A].

    tokens: of this rank's share of the packs, a number that all ranks have in common.
    """

    hidden_AD: torch.Tensor
    targets_A: torch.Tensor
    weights_A: torch.Tensor
    tokens: int


def answers(model: torch.nn.Module, packs: TextPacks, context: ContextGroup | None = None) -> Answers:
    """Run the base model over packs and keep what the head and the loss need.

    context: the ranks that share these packs; each passes the same ones and gets the answers of its own tokens.
    ConfigError for a family whose masks are not known here.
    """
    stock: Any = getattr(model, "module", model)
    device = next(model.parameters()).device
    packs = packs.padded(packed_length(model, packs.input_ids.shape[1], context))
    own = own_columns(packs.input_ids.shape[1], context)
    hidden_NLD = stock.base_model(
        input_ids=sent(packs.input_ids[:, own], device),
        position_ids=sent(packs.positions[:, own], device),
        attention_mask=prepared_masks(stock, packs.visibility(), device, context),
        use_cache=False,
        context=context,
    ).last_hidden_state
    weights_NL = packs.weights[:, own]
    learned_NL = weights_NL > 0
    return Answers(
        hidden_AD=hidden_NLD.flatten(0, 1).index_select(0, sent(np.flatnonzero(learned_NL), device)),
        targets_A=sent(packs.targets[:, own][learned_NL], device),
        weights_A=sent(weights_NL[learned_NL], device),
        tokens=weights_NL.size,
    )


def prepared_masks(
    stock: Any, visibility: Visibility, device: torch.device, context: ContextGroup | None
) -> torch.Tensor | BlockMask | dict[str, torch.Tensor | BlockMask]:
    """The mask of a family in the form that it takes as prepared."""
    config = stock.config
    if config.model_type not in FAMILIES:
        raise ConfigError(
            what=f"packed text for a model of type {config.model_type!r}",
            why="a layer that makes its own mask would ignore ours, and documents would see each other, silently",
            fix=f"use one of {', '.join(FAMILIES)}",
        )
    whole = attention_mask(stock, visibility, device, context=context)
    if config.model_type in _ONE_MASK:
        return whole
    masks = {"full_attention": whole}
    if "sliding_attention" in config.layer_types:
        near = attention_mask(stock, visibility, device, context=context, window=config.sliding_window)
        masks["sliding_attention"] = near
    return masks
