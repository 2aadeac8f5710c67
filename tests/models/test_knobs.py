from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from transformers import DynamicCache

from tests.models.knob_models import ALL, DEPTH, decoded, logits, made, tokens
from trackyard.errors import ConfigError
from trackyard.models.knobs import decoder_blocks, kept_blocks


@pytest.mark.parametrize("family", ALL)
def test_the_blocks_of_every_family_are_found(family: str) -> None:
    model = made(family)
    blocks = decoder_blocks(model)
    assert len(blocks) == model.config.get_text_config().num_hidden_layers
    assert {type(block).__name__.endswith(("DecoderLayer", "NeoXLayer")) for block in blocks} == {True}
    assert "Vision" not in type(blocks[0]).__name__


@pytest.mark.parametrize("family", ALL)
def test_all_blocks_are_the_stock_model_bit_for_bit_and_nothing_is_touched(family: str) -> None:
    model = made(family)
    blocks = decoder_blocks(model)
    stock = logits(model)
    with kept_blocks(model, range(len(blocks))):
        assert not any("forward" in block.__dict__ for block in blocks)
        assert torch.equal(logits(model), stock)


@pytest.mark.parametrize("family", ALL)
def test_a_skipped_block_counts_for_nothing_and_comes_back(family: str) -> None:
    model = made(family)
    blocks = decoder_blocks(model)
    stock = logits(model)
    skipped = 1
    kept = [number for number in range(len(blocks)) if number != skipped]
    with kept_blocks(model, kept):
        without = logits(model)
    assert not torch.allclose(without, stock), "the block does something, so leaving it out shows"
    assert torch.equal(logits(model), stock), "afterwards the model is what it was"
    ruined = deepcopy(model)
    with torch.no_grad():
        for weight in decoder_blocks(ruined)[skipped].parameters():
            weight.fill_(torch.nan)
    assert logits(ruined).isnan().any(), "control: unskipped, these weights are seen"
    with kept_blocks(ruined, kept):
        assert torch.equal(logits(ruined), without)


@pytest.mark.parametrize("family", ALL)
def test_decoding_over_the_cache_equals_the_whole_sequence_and_skipped_blocks_store_nothing(family: str) -> None:
    model = made(family)
    # Of Gemma's full attention blocks, the first too: a stock cache is told its length by it.
    required = {0, len(decoder_blocks(model)) - 1} | ({2} if family.startswith("gemma") else set())
    ids = tokens(14)
    with kept_blocks(model, required):
        steps, cache = decoded(model, ids, prompt=5)
        torch.testing.assert_close(steps, logits(model, ids), rtol=1e-4, atol=1e-4)
    stored = {number for number, layer in enumerate(cache.layers) if layer.keys is not None}
    assert stored == required


def test_a_shallower_model_is_the_same_as_a_deep_one_with_blocks_left_out() -> None:
    model = made("llama")
    kept = [0, 2, 5]
    shallow = deepcopy(model)
    shallow.model.layers = nn.ModuleList(shallow.model.layers[number] for number in kept)
    shallow.config.num_hidden_layers = len(kept)
    for number, block in enumerate(shallow.model.layers):
        block.self_attn.layer_idx = number
    ids = tokens(10)
    with kept_blocks(model, kept):
        assert torch.equal(decoded(model, ids, prompt=4)[0], decoded(shallow, ids, prompt=4)[0])


_LLAMA = made("llama")


@settings(max_examples=20, deadline=None)
@given(st.sets(st.integers(1, DEPTH - 2)), st.integers(3, 6))
def test_any_blocks_between_the_ends_decode_as_they_read(between: set[int], prompt: int) -> None:
    ids = tokens(8)
    with kept_blocks(_LLAMA, {0, DEPTH - 1} | between):
        steps, _ = decoded(_LLAMA, ids, prompt=prompt)
        torch.testing.assert_close(steps, logits(_LLAMA, ids), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "indices", [[0, 1], [1, 5], [], [0, 5, 6], [0, -1, 5], [0, 2, 2, 5]], ids=lambda indices: str(indices)
)
def test_block_sets_that_a_stock_model_cannot_run_are_refused(indices: list[int]) -> None:
    model = made("llama")
    with pytest.raises(ConfigError) as refused, kept_blocks(model, indices):
        pass
    assert str(indices) in refused.value.what
    assert "keep 0 and 5" in refused.value.fix


@torch.no_grad()
def _last_of_padded(model: Any, ids: torch.Tensor, cache: Any) -> torch.Tensor:
    """Logits after the last id of sequences whose first three are padding; the last is read over the cache if any."""
    mask = torch.ones_like(ids)
    mask[:, :3] = 0
    places = (mask.cumsum(1) - 1).clamp(min=0)
    start = 0
    over: dict[str, Any] = {"past_key_values": cache, "use_cache": cache is not None}
    if cache is not None:
        start = ids.shape[1] - 1
        model(input_ids=ids[:, :-1], attention_mask=mask[:, :-1], position_ids=places[:, :-1], **over)
    found: torch.Tensor = model(
        input_ids=ids[:, start:], attention_mask=mask, position_ids=places[:, start:], **over
    ).logits
    return found[:, -1]


def test_the_first_block_of_a_kind_is_skipped_only_under_a_cache_without_kinds() -> None:
    model, ids = made("gemma3"), tokens(14)
    kept = [0, 1, 5]
    with kept_blocks(model, kept):
        whole = _last_of_padded(model, ids, None)
        torch.testing.assert_close(_last_of_padded(model, ids, DynamicCache()), whole, rtol=1e-4, atol=1e-4)
        with pytest.raises(ConfigError, match="block 2 is skipped") as refused:
            _last_of_padded(model, ids, DynamicCache(config=model.config))
    assert "DynamicCache()" in refused.value.fix
    with kept_blocks(model, [*kept, 2]):
        whole = _last_of_padded(model, ids, None)
        stock = _last_of_padded(model, ids, DynamicCache(config=model.config))
        torch.testing.assert_close(stock, whole, rtol=1e-4, atol=1e-4)


def test_control_without_that_refusal_padding_is_attended(monkeypatch: pytest.MonkeyPatch) -> None:
    model, ids = made("gemma3"), tokens(14)
    monkeypatch.setattr("trackyard.models.knobs._first_of_kind", lambda _: frozenset())
    with kept_blocks(model, [0, 1, 5]):
        whole = _last_of_padded(model, ids, None)
        stock = _last_of_padded(model, ids, DynamicCache(config=model.config))
    assert not torch.allclose(stock, whole, rtol=1e-3, atol=1e-3)


def test_the_model_is_itself_again_after_an_error_and_contexts_nest() -> None:
    model = made("llama")
    stock = logits(model)
    with pytest.raises(KeyError), kept_blocks(model, [0, 3, 5]):
        raise KeyError
    assert torch.equal(logits(model), stock)
    with kept_blocks(model, [0, 1, 3, 5]):
        outer = logits(model)
        with kept_blocks(model, [0, 1, 5]):
            assert not torch.equal(logits(model), outer)
        assert torch.equal(logits(model), outer)
    assert torch.equal(logits(model), stock)


def test_hooks_and_a_forward_that_someone_else_put_there_survive() -> None:
    model = made("llama")
    block = decoder_blocks(model)[2]
    seen: list[Any] = []
    block.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    own = block.forward
    block.forward = own
    with kept_blocks(model, [0, 1, 5]):
        logits(model)
    assert len(seen) == 1
    assert block.__dict__["forward"] is own


def test_models_whose_blocks_cannot_be_told_are_refused() -> None:
    with pytest.raises(ConfigError, match="without a configuration"):
        decoder_blocks(nn.Linear(2, 2))
    twice = made("llama")
    twice.again = deepcopy(twice.model.layers)
    with pytest.raises(ConfigError, match="2 lists of 6"):
        decoder_blocks(twice)
    cut = made("llama")
    cut.model.layers = cut.model.layers[:4]
    with pytest.raises(ConfigError, match="0 lists of 6"):
        decoder_blocks(cut)
