"""One micro-batch of packs through the stock Molmo2. Source: molmo2 spec sections 1 and 8.

Shapes: N packs of L tokens; A answer positions.
"""

from __future__ import annotations

from typing import Any

import torch

from trackyard.feed.batch import Batch
from trackyard.train.loss import AnswerLoss, answer_loss


def forward(model: torch.nn.Module, batch: Batch) -> AnswerLoss:
    """Loss of the answer positions under the pack's own mask; logits exist at answer positions only.

    The 4-D mask is always passed: the stock mask joins the visual tokens of all rows of a pack in one block. A batch
    without media still runs one blank image through the vision tower, times zero, so that every parameter has a
    gradient on every rank and in every split of the global batch.
    """
    device = next(model.parameters()).device
    weights_NL = torch.from_numpy(batch.weights).to(device)
    answers_NL = weights_NL > 0
    kept_K = answers_NL.any(dim=0).nonzero().squeeze(1)
    inputs = {
        "input_ids": torch.from_numpy(batch.input_ids).to(device),
        "position_ids": torch.from_numpy(batch.positions).to(device),
        "mm_token_type_ids": torch.from_numpy(batch.visual_flags).long().to(device),
        "attention_mask": torch.from_numpy(batch.dense_mask()).unsqueeze(1).to(device),
    }
    visual = batch.visual
    touched = torch.zeros((), device=device)
    if len(visual.grids):
        inputs |= {
            "pixel_values": torch.from_numpy(visual.patches).to(device),
            "image_token_pooling": torch.from_numpy(visual.pooling).to(device),
            "image_grids": torch.from_numpy(visual.grids).to(device),
        }
    else:
        module: Any = getattr(model, "module", model)
        blank = torch.zeros((1, *visual.patches.shape[1:]), device=device)
        window = torch.arange(visual.pooling.shape[1], device=device)[None]
        grid = torch.tensor([[1, 1, 0, 0]], device=device)
        touched = module.get_image_features(blank, window, grid).pooler_output[0].sum() * 0.0
    logits_NKV = model(**inputs, logits_to_keep=kept_K, use_cache=False).logits
    chosen_NK = answers_NL[:, kept_K]
    loss = answer_loss(
        logits_NKV[chosen_NK],
        torch.from_numpy(batch.targets).to(device)[:, kept_K][chosen_NK],
        weights_NL[:, kept_K][chosen_NK],
    )
    return AnswerLoss(total=loss.total + touched, cross_entropy=loss.cross_entropy, weight=loss.weight)
