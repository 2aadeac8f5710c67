"""Packed text: documents see themselves only, windows slide, and the stock models agree."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from trackyard.errors import ConfigError
from trackyard.feed.tree import NO_TARGET
from trackyard.models.attention import use_masks
from trackyard.models.text_packs import TextPacks, answers

VOCABULARY, END, WINDOW = 64, 0, 5
SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
    "intermediate_size": 64, "initializer_range": 0.3,
}  # fmt: skip


def built(kind: Any, config: Any) -> Any:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    return kind(config).eval()


MODELS = {
    "gpt_neox": built(GPTNeoXForCausalLM, GPTNeoXConfig(**SIZES)),
    "gemma3": built(
        Gemma3ForCausalLM,
        Gemma3TextConfig(
            **SIZES, num_key_value_heads=2, head_dim=8, sliding_window=WINDOW, query_pre_attn_scalar=8,
            layer_types=["sliding_attention", "full_attention"],
        ),
    ),
    "llama": built(LlamaForCausalLM, LlamaConfig(**SIZES, num_key_value_heads=2)),
    "qwen2": built(Qwen2ForCausalLM, Qwen2Config(**SIZES, num_key_value_heads=2, tie_word_embeddings=True)),
    "qwen2 that slides": built(
        Qwen2ForCausalLM,
        Qwen2Config(
            **SIZES, num_key_value_heads=2, use_sliding_window=True, sliding_window=WINDOW, max_window_layers=1
        ),
    ),
}  # fmt: skip


def stock_hidden(net: Any, tokens: np.ndarray) -> torch.Tensor:
    """Hidden states [L, D] of one document alone, with the masks that transformers makes itself."""
    with torch.no_grad():
        found: torch.Tensor = net.base_model(input_ids=torch.from_numpy(tokens)[None], use_cache=False)[0][0]
    return found


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("ours", [False, True])
def test_packed_documents_have_the_hidden_states_of_the_documents_alone(name: str, ours: bool) -> None:
    net = MODELS[name]
    rng = np.random.default_rng(0)
    documents = [np.append(rng.integers(1, VOCABULARY, size), END) for size in (9, 17, 3)]
    windows = np.concatenate([*documents, [5]])[None]
    wanted = torch.cat([stock_hidden(net, document)[:-1] for document in documents])
    use_masks(net, "dense") if ours else net.set_attn_implementation("sdpa")
    try:
        with torch.no_grad():
            found = answers(net, TextPacks.of_windows(windows, separator=END))
            joined = answers(net, TextPacks.of_windows(windows))
    finally:
        net.set_attn_implementation("sdpa")
    assert (found.hidden_AD - wanted).abs().max() <= 1e-5
    # Negative control: as one document they see each other; the first one has nobody before it.
    other = joined.hidden_AD[torch.from_numpy(windows[0, :-1] != END)]
    assert (other[:9] - wanted[:9]).abs().max() <= 1e-5
    assert (other[9:] - wanted[9:]).abs().max() > 1e-2


@pytest.mark.parametrize("name", MODELS)
def test_windows_without_separator_are_the_stock_forward(name: str) -> None:
    net = MODELS[name]
    windows = np.random.default_rng(1).integers(0, VOCABULARY, (3, 18))
    packs = TextPacks.of_windows(windows)
    use_masks(net, "dense")
    try:
        with torch.no_grad():
            found = answers(net, packs)
            logits = net.get_output_embeddings()(found.hidden_AD)
    finally:
        net.set_attn_implementation("sdpa")
    with torch.no_grad():
        stock = net(input_ids=torch.from_numpy(windows[:, :-1]), use_cache=False).logits
    assert (logits.view_as(stock) - stock).abs().max() <= 1e-5 * stock.abs().max()
    assert found.targets_A.tolist() == windows[:, 1:].flatten().tolist()


@settings(max_examples=30)
@given(st.lists(st.lists(st.integers(0, 3), min_size=12, max_size=12), min_size=1, max_size=3))
def test_windows_become_documents(rows: list[list[int]]) -> None:
    windows = np.array(rows)
    packs = TextPacks.of_windows(windows, separator=END)
    for ids, positions, segments, targets, weights, window in zip(
        packs.input_ids, packs.positions, packs.segments, packs.targets, packs.weights, windows, strict=True
    ):
        document = place = 0
        for at, token in enumerate(window[:-1]):
            assert (ids[at], positions[at], segments[at]) == (token, place, document)
            last = token == END
            assert (targets[at], weights[at]) == ((NO_TARGET, 0.0) if last else (window[at + 1], 1.0))
            document, place = (document + 1, 0) if last else (document, place + 1)
    seen = packs.visibility().dense()
    order = np.arange(11)
    same = packs.segments[:, :, None] == packs.segments[:, None]
    assert np.array_equal(seen, same & (order[:, None] >= order[None]))


def test_numbers_of_documents_need_no_order() -> None:
    """A document with a lower number than the one before it does not see it."""
    packs = TextPacks.of_windows(np.arange(1, 8)[None])
    segments = np.array([[7, 7, 3, 3, 7, -1]])
    seen = TextPacks(
        input_ids=packs.input_ids, positions=packs.positions, segments=segments, targets=packs.targets,
        weights=packs.weights,
    ).visibility().dense()[0]  # fmt: skip
    blocks = [(0, 2), (2, 4), (4, 5), (5, 6)]
    wanted = np.zeros((6, 6), dtype=bool)
    for start, stop in blocks:
        wanted[start:stop, start:stop] = np.tri(stop - start)
    assert np.array_equal(seen, wanted)


def test_without_a_separator_a_window_is_one_document() -> None:
    windows = np.arange(12).reshape(2, 6)
    packs = TextPacks.of_windows(windows)
    assert packs.targets.tolist() == windows[:, 1:].tolist()
    assert packs.positions.tolist() == [list(range(5))] * 2
    assert not packs.segments.any()
    assert packs.weights.all()


def test_padding_sees_and_teaches_nothing() -> None:
    packs = TextPacks.of_windows(np.arange(1, 8)[None])
    net = MODELS["gpt_neox"]
    with torch.no_grad():
        assert torch.allclose(answers(net, packs).hidden_AD, answers(net, packs.padded(9)).hidden_AD, atol=1e-6)
    assert packs.padded(6) is packs


def test_an_unknown_family_is_refused() -> None:
    net = MistralForCausalLM(MistralConfig(**SIZES, num_key_value_heads=2))
    with pytest.raises(ConfigError, match="packed text for a model of type 'mistral'"):
        answers(net, TextPacks.of_windows(np.arange(1, 8)[None]))
