"""The validation loss: that of the exact definition, with the windows of training."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from tests.recipes.pile_ffn.tiny_study import tiny_study
from trackyard.recipes.pile_ffn.arms.original import CELL
from trackyard.recipes.pile_ffn.arms.validating import VAL, val_nll
from trackyard.recipes.pile_ffn.measures.exports import load_exact
from trackyard.recipes.pile_ffn.text.token_sets import open_set


@torch.no_grad()
def test_every_token_but_the_first_of_a_document_counts_once(tmp_path: Path) -> None:
    study = tiny_study(tmp_path, training={"window": 32})
    model = load_exact(study, CELL)
    total, count = 0.0, 0
    for entry, ids in open_set(study, VAL).documents():
        seen = 1
        for start in range(0, max(1, len(ids) - 16), 16):
            part = torch.from_numpy(ids[start : start + 32])
            losses = F.cross_entropy(model(input_ids=part[None, :-1]).logits[0], part[1:], reduction="none")
            new = losses[seen - 1 - start :]
            total, seen = total + float(new.double().sum()), start + len(part)
            count += len(new)
        assert seen == entry.n_tokens
    assert val_nll(study, model) == pytest.approx(total / count, abs=1e-6)
    # How the reported perplexity is taken does not matter here.
    other = study.parameters.perplexity.model_copy(update={"length": 64, "stride": 8, "batch": 3})
    object.__setattr__(study, "parameters", study.parameters.model_copy(update={"perplexity": other}))
    assert val_nll(study, model) == pytest.approx(total / count, abs=1e-6)
