"""One micro-batch of packs through the stock Molmo2. Source: molmo2 spec sections 1 and 8, performance section 6.

Everything that decides a shape is counted on the host before it is sent, so that an accelerator is never waited for.

Shapes: N packs of L tokens; K answer positions of any pack; A answers; M placeholders; D hidden size; V vocabulary.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from trackyard.errors import DataError
from trackyard.feed.batch import Batch
from trackyard.feed.visibility import Visibility
from trackyard.models.attention import attention_mask, sent
from trackyard.models.pixels import embed, visual_features
from trackyard.train.loss import AnswerLoss, answer_loss


def forward(model: torch.nn.Module, batch: Batch) -> AnswerLoss:
    """Loss of the answer positions under the pack's own mask; logits exist at answer positions only.

    batch: arrays of NumPy, or tensors in host memory; pinned ones are sent without a copy. The mask is always passed:
    the stock mask joins the visual tokens of all rows of a pack in one block. A batch without media still runs one
    blank image through the vision tower, times zero, so that every parameter has a gradient on every rank and in every
    split of the global batch.
    """
    stock: Any = getattr(model, "module", model)
    device = next(model.parameters()).device
    visibility = Visibility.of(batch.segments, batch.examples, batch.visual_flags)
    mask = attention_mask(model, visibility, device)
    embeddings_NLD, touched = _embeddings(stock, batch, device)
    weights_NL = np.asarray(batch.weights)
    answers_NL = weights_NL > 0
    kept_K = np.flatnonzero(answers_NL.any(axis=0))
    logits_NKV = model(
        inputs_embeds=embeddings_NLD,
        position_ids=sent(batch.positions, device),
        mm_token_type_ids=sent(batch.visual_flags, device).long(),
        attention_mask=mask,
        logits_to_keep=sent(kept_K, device),
        use_cache=False,
    ).logits
    logits_AV, chosen_A = logits_NKV.flatten(0, 1), np.flatnonzero(answers_NL[:, kept_K])
    if len(chosen_A) < len(logits_AV):
        logits_AV = logits_AV.index_select(0, sent(chosen_A, device))
    loss = answer_loss(
        logits_AV,
        sent(np.asarray(batch.targets)[answers_NL], device),
        sent(weights_NL[answers_NL], device),
    )
    return AnswerLoss(total=loss.total + touched, cross_entropy=loss.cross_entropy, weight=loss.weight)


def _embeddings(stock: Any, batch: Batch, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Token embeddings [N, L, D] with pictures added, and a zero that the vision tower has a part in."""
    input_ids, visual = sent(batch.input_ids, device), batch.visual
    if len(visual.grids):
        places = _placeholders(np.asarray(batch.input_ids), np.asarray(visual.pooling), stock.config.image_token_id)
        features_MD = visual_features(stock, sent(visual.patches, device), sent(visual.pooling, device))
        return embed(stock, input_ids, features_MD, sent(places, device)), torch.zeros((), device=device)
    patches, width = visual.patches.shape[1:], visual.pooling.shape[1]
    blank = torch.full((1, *patches), 128, dtype=torch.uint8, device=device)
    touched = visual_features(stock, blank, torch.arange(width, device=device)[None]).sum() * 0.0
    embeddings: torch.Tensor = stock.get_input_embeddings()(input_ids)
    return embeddings, touched


def _placeholders(input_ids_NL: NDArray[Any], pooling_MW: NDArray[Any], placeholder: int) -> NDArray[np.intp]:
    """Where the placeholders lie in the flattened batch; DataError unless each has one feature, of some patch."""
    places = np.flatnonzero(input_ids_NL == placeholder)
    windows = int((pooling_MW >= 0).any(axis=1).sum())
    if not len(places) == windows == len(pooling_MW):
        raise DataError(
            what=f"{len(places)} placeholders for {len(pooling_MW)} visual features, {windows} of them not empty",
            why="features would be added to other tokens than their own",
            fix="build the index and the plan again: `dvc repro --force`",
        )
    return places
