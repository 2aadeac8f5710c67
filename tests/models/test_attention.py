"""Both kinds of mask are the same mask, and the stock Molmo2 computes the same with either."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.attention.flex_attention as flex
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tiny_molmo2 import batch, model, sample
from trackyard.errors import ConfigError
from trackyard.feed.batch import Batch
from trackyard.feed.visibility import Visibility
from trackyard.models.attention import (
    BLOCK,
    MaskKind,
    attention_mask,
    block_mask,
    dense_mask,
    mask_kind,
    packed_length,
    use_masks,
)
from trackyard.models.context import ContextGroup
from trackyard.models.pixels import embed, visual_features
from trackyard.recipes.molmo2.forward import forward

CPU = torch.device("cpu")
KINDS: tuple[MaskKind, MaskKind] = ("blocks", "dense")
TABLES = [f"{side}_{what}" for side in ("kv", "full_kv", "q", "full_q") for what in ("num_blocks", "indices")]
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.fixture
def uncompiled(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Flex attention by its plain reference: the fused kernel would be compiled for a minute."""
    monkeypatch.setattr(flex, "_FLEX_ATTENTION_DISABLE_COMPILE_DEBUG", True)
    with torch.compiler.set_stance("force_eager"):
        yield


def visibility_of(of: Batch) -> Visibility:
    return Visibility.of(of.segments, of.examples, of.visual_flags)


def media_batch() -> Batch:
    """Two packs: images with branches and video; text and one question about an image; both with padding."""
    return batch([[sample("vqa-v2", 0), sample("molmo2-cap", 0)], [sample("tulu", 1), sample("tallyqa", 0)]])


runs = st.lists(
    st.tuples(st.integers(-1, 2), st.sampled_from([0, 1, 10_000]), st.booleans(), st.integers(1, 150)),
    min_size=1,
    max_size=8,
)


def visibility(stretches: list[tuple[int, int, bool, int]]) -> Visibility:
    """(row, segment inside it, visual, tokens) side by side; row -1 is padding."""
    row, inner, visual, sizes = (np.array(column) for column in zip(*stretches, strict=True))
    return Visibility.of(*(np.repeat(column, sizes) for column in (100_000 * row + inner, row, visual)))


@settings(max_examples=25, deadline=None)
@given(runs)
def test_the_block_mask_asked_for_every_pair_is_the_dense_mask(stretches: list[tuple[int, int, bool, int]]) -> None:
    of = visibility(stretches)
    dense, blocks = dense_mask(of, CPU), block_mask(of, CPU)
    order = torch.arange(dense.shape[-1])
    zero = torch.zeros((), dtype=torch.long)
    assert torch.equal(blocks.mask_mod(zero, zero, order[:, None], order[None]), dense[0, 0])
    assert blocks.shape == dense.shape


@settings(max_examples=6, deadline=None)
@given(st.lists(runs, min_size=1, max_size=2))
def test_the_tables_of_tiles_are_those_of_torch(packs: list[list[tuple[int, int, bool, int]]]) -> None:
    length = max(sum(size for *_, size in pack) for pack in packs)
    filled = [visibility([*pack, (-1, 0, False, 1 + length - sum(size for *_, size in pack))]) for pack in packs]
    of = Visibility(
        levels=np.concatenate([pack.levels for pack in filled]), spans=np.concatenate([pack.spans for pack in filled])
    )
    found = block_mask(of, CPU)
    wanted = flex.create_block_mask(found.mask_mod, len(packs), None, length + 1, length + 1, "cpu", BLOCK)
    for name in TABLES:
        assert torch.equal(getattr(found, name), getattr(wanted, name)), name
    assert found.seq_lengths == wanted.seq_lengths


def test_flex_attention_equals_sdpa(uncompiled: None) -> None:
    of = visibility(
        [(0, 10_000, False, 9), (0, 10_000, True, 90), (0, 0, False, 40), (0, 1, False, 40), (1, 0, True, 30)]
    )
    torch.manual_seed(0)
    query, key, value = torch.randn(1, 4, 209, 16), torch.randn(1, 2, 209, 16), torch.randn(1, 2, 209, 16)
    found = flex.flex_attention(query, key, value, block_mask=block_mask(of, CPU), enable_gqa=True)
    wanted = torch.nn.functional.scaled_dot_product_attention(
        query, key, value, attn_mask=dense_mask(of, CPU), enable_gqa=True
    )
    assert isinstance(found, torch.Tensor)
    assert (found - wanted).abs().max() <= 1e-5


def logits(net: Any, of: Batch, seen: Visibility) -> torch.Tensor:
    """All logits [N, L, V] of the stock model under the mask of `seen`."""
    places = torch.from_numpy(np.flatnonzero(of.input_ids == net.config.image_token_id))
    features = visual_features(net, torch.as_tensor(of.visual.patches), torch.as_tensor(of.visual.pooling))
    with torch.no_grad():
        found: torch.Tensor = net(
            inputs_embeds=embed(net, torch.as_tensor(of.input_ids), features, places),
            position_ids=torch.as_tensor(of.positions),
            attention_mask=attention_mask(net, seen, CPU),
            use_cache=False,
        ).logits
    return found


def test_the_tiny_molmo2_computes_the_same_with_either_mask(uncompiled: None) -> None:
    of = media_batch()
    net = model().eval()
    dense = logits(net, of, visibility_of(of))
    use_masks(net, "blocks")
    assert isinstance(attention_mask(net, visibility_of(of), CPU), flex.BlockMask)
    blocks = logits(net, of, visibility_of(of))
    assert (blocks - dense).abs().max() <= 1e-5
    # Negative control: a mask without the visual blocks is seen in the logits.
    use_masks(net, "dense")
    causal = Visibility.of(of.segments, of.examples, np.zeros_like(of.visual_flags))
    assert (logits(net, of, causal) - dense).abs().max() > 1e-3


def test_each_device_has_one_kind() -> None:
    assert mask_kind(CPU) == "dense"
    assert mask_kind(torch.device("cuda", 3)) == "blocks"
    with pytest.raises(ConfigError, match="no attention mask is known for device 'mps'"):
        mask_kind(torch.device("mps"))


def test_only_the_text_layers_change_their_attention() -> None:
    net = model()
    for kind, name in zip(KINDS, ("trackyard_blocks", "trackyard_dense"), strict=True):
        use_masks(net, kind)
        assert net.model.language_model.config._attn_implementation == name
        assert net.model.vision_tower.config._attn_implementation == "sdpa"
        assert net.model.multi_modal_projector.config._attn_implementation == "sdpa"
    assert not isinstance(attention_mask(net, visibility([(0, 0, False, 3)]), CPU), flex.BlockMask)


def test_an_attention_that_takes_neither_mask_is_refused() -> None:
    net = model()
    net.set_attn_implementation({"text_config": "eager"})
    with pytest.raises(ConfigError) as caught:
        forward(net, batch([[sample("tulu", 0)]]))
    assert caught.value.what == "the model's text layers use attention 'eager'"
    assert caught.value.fix == "load the model with one of the attentions sdpa, flex_attention"


def test_a_model_of_transformers_own_attention_cannot_share_a_pack() -> None:
    net, pair = model(), ContextGroup(group=None, rank=0, degree=2)
    with pytest.raises(ConfigError) as caught:
        attention_mask(net, visibility([(0, 0, False, 4)]), CPU, context=pair)
    assert caught.value.what == "the model's text layers use attention 'sdpa' on 2 ranks"
    use_masks(net, "dense")
    assert attention_mask(net, visibility([(0, 0, False, 4)]), CPU, context=pair).shape == (1, 1, 4, 4)


def test_packs_are_padded_to_whole_shares_and_blocks() -> None:
    net, three = model(), ContextGroup(group=None, rank=0, degree=3)
    assert packed_length(net, 100, None) == 100
    use_masks(net, "dense")
    assert packed_length(net, 100, three) == 102
    use_masks(net, "blocks")
    assert packed_length(net, 100, three) == 3 * BLOCK
    assert packed_length(net, 100, None) == BLOCK


@settings(max_examples=15, deadline=None)
@given(runs, st.integers(1, 300))
def test_a_sliding_window_shortens_both_masks_alike(stretches: list[tuple[int, int, bool, int]], window: int) -> None:
    of = visibility(stretches)
    whole, near = dense_mask(of, CPU), dense_mask(of, CPU, window)
    order, spans = torch.arange(whole.shape[-1]), torch.as_tensor(of.spans[0])
    same = (spans[:, None] == spans[None]) & (spans[:, None] >= 0)
    assert torch.equal(near[0, 0], whole[0, 0] & ((order[:, None] - order[None] < window) | same))
    blocks, zero = block_mask(of, CPU, window), torch.zeros((), dtype=torch.long)
    assert torch.equal(blocks.mask_mod(zero, zero, order[:, None], order[None]), near[0, 0])
    # No tile that holds an allowed pair is left out, and none is called full that is not.
    partial = tiles(blocks.kv_num_blocks, blocks.kv_indices)
    full = tiles(blocks.full_kv_num_blocks, blocks.full_kv_indices)
    side = len(partial)
    padded = torch.nn.functional.pad(near[0, 0], (0, side * BLOCK - len(order)) * 2)
    pairs = padded.view(side, BLOCK, side, BLOCK).sum(dim=(1, 3))
    assert not (partial & full).any()
    assert ((pairs == 0) | partial | full).all()
    assert (pairs[full] == BLOCK * BLOCK).all()


def tiles(counts: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
    """The table of a block mask as flags [B, B]."""
    flags = torch.zeros(indices.shape[-2:], dtype=torch.bool)
    for row, count in enumerate(counts[0, 0]):
        flags[row, indices[0, 0, row, :count].long()] = True
    return flags


@needs_cuda
def test_on_a_gpu_training_with_blocks_equals_training_with_dense_masks() -> None:
    """Compiled kernels, forward and backward."""
    of, losses, gradients = media_batch(), [], []
    for kind in KINDS:
        net = model().train().cuda()
        use_masks(net, kind)
        loss = forward(net, of).total
        loss.backward()
        losses.append(loss.item())
        gradients.append(net.model.language_model.layers[0].self_attn.q_proj.weight.grad.cpu())
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert (gradients[0] - gradients[1]).norm() <= 1e-3 * gradients[0].norm()


@needs_cuda
def test_on_a_gpu_nothing_waits_for_the_device() -> None:
    net, of = model().train().cuda(), media_batch()
    use_masks(net, "blocks")
    # The first one compiles.
    forward(net, of).total.backward()
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        forward(net, of).total.backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")
