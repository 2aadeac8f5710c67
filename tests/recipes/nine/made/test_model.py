"""The random model, its tokenizer and the wording of its rows fit together."""

from __future__ import annotations

import pytest
import torch

from tests.recipes.nine.made.small import parameters, rows
from trackyard.errors import ConfigError
from trackyard.models.expert_routing import expert_count
from trackyard.models.knobs import decoder_blocks
from trackyard.recipes.nine.made.model import made_feed, made_tokens, random_made


def test_model_and_tokenizer_fit() -> None:
    made = parameters()
    tokens = made_tokens(rows(), made)
    assert tokens.vocab_size == made.vocabulary
    assert len(tokens.encode("What colour is the circle?")) < 10, "words of the rows are few tokens"
    model = random_made(made, tokens)
    assert (len(decoder_blocks(model)), expert_count(model)) == (made.layers, made.experts)
    again = random_made(made, tokens)
    assert all(torch.equal(one, other) for one, other in zip(model.parameters(), again.parameters(), strict=True))
    with pytest.raises(ConfigError, match="disagree"):
        random_made(parameters(vocabulary=400), tokens)


def test_rows_are_worded_as_they_are_evaluated() -> None:
    feed = made_feed(parameters(), 1)
    assert feed.evaluation
    assert feed.geometry.max_crops == 1
    assert feed.geometry.patch_size == parameters().geometry.patch_size
