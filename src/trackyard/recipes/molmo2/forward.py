"""One micro-batch of packs through the stock Molmo2, on one rank or shared by C. Source: molmo2 spec sections 1, 8, 12.

Everything that decides a shape is counted on the host before it is sent, so that an accelerator is never waited for.

Shapes: N packs of L tokens; C ranks of a context-parallel group; A answers; M placeholders; D hidden size.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from trackyard.errors import DataError
from trackyard.feed.batch import Batch
from trackyard.feed.tree import NO_TARGET, PADDING_EXAMPLE, Flags
from trackyard.feed.visibility import Visibility
from trackyard.models.attention import attention_mask, packed_length
from trackyard.models.context import ContextGroup, own_columns, owned_features
from trackyard.models.pixels import embed, visual_features
from trackyard.models.sending import sent
from trackyard.models.visual_shares import visual_shares
from trackyard.train.loss import AnswerLoss, answer_loss, chunks_of


def forward(
    model: torch.nn.Module, batch: Batch, context: ContextGroup | None = None, *, loss_chunk: int | None = None
) -> AnswerLoss:
    """Loss of the answer positions under the pack's own mask; logits exist at answer positions only.

    batch: arrays of NumPy, or tensors in host memory; pinned ones are sent without a copy. The mask is always passed:
    the stock mask joins the visual tokens of all rows of a pack in one block. A batch without media still runs one
    blank image through the vision tower, times zero, so that every parameter has a gradient on every rank and in every
    split of the global batch.

    context: the ranks that share these packs; each passes the same batch and gets the loss of its own answers
    (`own_answers`), whose sum over the group is the loss of the batch. loss_chunk: tokens whose logits exist at once.
    """
    stock: Any = getattr(model, "module", model)
    device = next(model.parameters()).device
    batch = _padded(batch, packed_length(model, batch.input_ids.shape[1], context))
    own = own_columns(batch.input_ids.shape[1], context)
    visibility = Visibility.of(batch.segments, batch.examples, batch.visual_flags)
    mask = attention_mask(model, visibility, device, context=context)
    embeddings_NLD, touched = _embeddings(stock, batch, device, context)
    hidden_NLD = stock.model.language_model(
        inputs_embeds=embeddings_NLD,
        position_ids=sent(batch.positions[:, own], device),
        attention_mask=mask,
        use_cache=False,
        context=context,
    ).last_hidden_state
    weights_NL = np.asarray(batch.weights)[:, own]
    answers_NL = weights_NL > 0
    loss = answer_loss(
        hidden_NLD.flatten(0, 1).index_select(0, sent(np.flatnonzero(answers_NL), device)),
        stock.get_output_embeddings(),
        sent(np.asarray(batch.targets)[:, own][answers_NL], device),
        sent(weights_NL[answers_NL], device),
        chunks=1 if loss_chunk is None else chunks_of(weights_NL.size, loss_chunk),
    )
    return AnswerLoss(total=loss.total + touched, cross_entropy=loss.cross_entropy, weight=loss.weight)


def own_answers(model: torch.nn.Module, batch: Batch, context: ContextGroup | None) -> Flags:
    """Which of the batch's answers, in reading order, this rank's loss is about."""
    own = own_columns(packed_length(model, batch.input_ids.shape[1], context), context)
    columns = np.nonzero(np.asarray(batch.weights) > 0)[1]
    mine: Flags = (columns >= own.start) & (columns < own.stop)
    return mine


def _padded(batch: Batch, length: int) -> Batch:
    """The batch with its packs filled up to `length`; as it is where they are that long."""
    fill = length - batch.input_ids.shape[1]
    if not fill:
        return batch

    def filled(array: Any, value: int) -> Any:
        return np.pad(np.asarray(array), ((0, 0), (0, fill)), constant_values=value)

    return replace(
        batch,
        input_ids=filled(batch.input_ids, 0),
        positions=filled(batch.positions, 0),
        segments=filled(batch.segments, PADDING_EXAMPLE),
        examples=filled(batch.examples, PADDING_EXAMPLE),
        visual_flags=filled(batch.visual_flags, 0),
        targets=filled(batch.targets, NO_TARGET),
        weights=filled(batch.weights, 0),
    )


def _embeddings(
    stock: Any, batch: Batch, device: torch.device, context: ContextGroup | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Embeddings [N, L / C, D] of this rank's tokens with pictures added, and a zero that all vision weights are in."""
    input_ids_NL, visual = np.asarray(batch.input_ids), batch.visual
    own = own_columns(input_ids_NL.shape[1], context)
    input_ids = sent(batch.input_ids[:, own], device)
    if not len(visual.grids):
        embeddings: torch.Tensor = stock.get_input_embeddings()(input_ids)
        return embeddings, _blank_feature(stock, batch, device).sum() * 0.0
    places_M = _placeholders(input_ids_NL, np.asarray(visual.pooling), stock.config.image_token_id)
    zero = torch.zeros((), device=device)
    if context is None:
        features_MD = visual_features(stock, sent(visual.patches, device), sent(visual.pooling, device))
        return embed(stock, input_ids, features_MD, sent(places_M, device)), zero
    inputs, patches = visual.patches.shape[:2]
    shares = visual_shares(np.asarray(visual.grids), np.asarray(visual.pooling), inputs, patches, context.degree)
    share = shares[context.rank]
    pooling_MW = np.asarray(visual.pooling)[share.windows]
    if len(pooling_MW):
        moved_MW = np.where(pooling_MW >= 0, pooling_MW - share.inputs.start * patches, pooling_MW)
        encoded_ED = visual_features(stock, sent(visual.patches[share.inputs], device), sent(moved_MW, device))
    else:
        encoded_ED = _blank_feature(stock, batch, device)[:0]
    spans = [(each.windows.start, each.windows.stop) for each in shares]
    features_MD, own_places_M = owned_features(encoded_ED, spans, places_M, input_ids_NL.shape[1], context)
    return embed(stock, input_ids, features_MD, sent(own_places_M, device)), zero


def _blank_feature(stock: Any, batch: Batch, device: torch.device) -> torch.Tensor:
    """Feature [1, D] of one grey image: every rank uses the vision tower, whatever its packs hold."""
    patches, width = batch.visual.patches.shape[1:], batch.visual.pooling.shape[1]
    blank = torch.full((1, *patches), 128, dtype=torch.uint8, device=device)
    return visual_features(stock, blank, torch.arange(width, device=device)[None])


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
