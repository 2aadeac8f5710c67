"""Packing changes nothing: rows side by side, and branches side by side, learn what they would learn alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensorMode,
)

from tests.tiny_molmo2 import batch, feed, model, sample, tokens
from trackyard.acquire.mini.datasets import MINI
from trackyard.errors import DataError
from trackyard.feed.batch import Batch
from trackyard.feed.sample import Sample, broken_sample, build_sample, measure
from trackyard.feed.tree import PREFIX_SEGMENT
from trackyard.models.pixels import normalise_patches
from trackyard.recipes.molmo2.forward import forward
from trackyard.row import Turn
from trackyard.train.loss import AnswerLoss, answer_loss

torch.set_num_threads(1)
MODEL: Any = model().train()

NAMES = ("pixmo-points", "tulu", "molmo2-cap", "vqa-v2", "tallyqa", "molmo2-capqa")
SAMPLES = st.tuples(st.sampled_from(NAMES), st.integers(0, 2)).map(lambda pair: sample(*pair))


def losses(of: Batch) -> AnswerLoss:
    with torch.no_grad():
        return forward(MODEL, of)


def alone(of: Sample) -> AnswerLoss:
    return losses(batch([[of]], length=len(of.tree)))


def answers(of: Sample) -> int:
    return int((of.tree.weights > 0).sum())


@settings(max_examples=12, deadline=None)
@given(st.lists(st.lists(SAMPLES, min_size=1, max_size=3), min_size=1, max_size=2))
def test_packed_rows_have_the_loss_of_the_rows_alone(packs: list[list[Sample]]) -> None:
    packed = losses(batch(packs))
    each = [alone(row) for pack in packs for row in pack]
    assert packed.total.item() == pytest.approx(sum(row.total.item() for row in each), rel=1e-5, abs=1e-5)
    # Token by token, in reading order.
    assert (packed.cross_entropy - torch.cat([row.cross_entropy for row in each])).abs().max() <= 1e-5
    assert torch.equal(packed.weight, torch.cat([row.weight for row in each]))


def without_the_mask(of: Batch) -> AnswerLoss:
    """The stock mask: position resets and `mm_token_type_ids`, as one gets by forgetting the 4-D mask."""
    weights, targets = torch.from_numpy(of.weights), torch.from_numpy(of.targets)
    with torch.no_grad():
        logits = MODEL(
            input_ids=torch.from_numpy(of.input_ids),
            position_ids=torch.from_numpy(of.positions),
            mm_token_type_ids=torch.from_numpy(of.visual_flags).long(),
            pixel_values=normalise_patches(torch.from_numpy(of.visual.patches)),
            image_token_pooling=torch.from_numpy(of.visual.pooling),
            image_grids=torch.from_numpy(of.visual.grids),
            use_cache=False,
        ).logits
    return answer_loss(logits[weights > 0], torch.nn.Identity(), targets[weights > 0], weights[weights > 0])


def test_negative_control_the_stock_mask_leaks_between_rows() -> None:
    rows = [sample("tallyqa", 0), sample("molmo2-cap", 0)]
    each = torch.cat([alone(row).cross_entropy for row in rows])
    packed = batch([rows])
    assert (losses(packed).cross_entropy - each).abs().max() <= 1e-5
    assert (without_the_mask(packed).cross_entropy - each).abs().max() > 1e-3
    # It is the mask that differs: for a lone row both are the same.
    row = sample("tallyqa", 0)
    lone = batch([[row]], length=len(row.tree))
    assert (without_the_mask(lone).cross_entropy - alone(row).cross_entropy).abs().max() <= 1e-5


@settings(max_examples=8, deadline=None)
@given(SAMPLES, SAMPLES, SAMPLES)
def test_another_pack_mate_changes_nothing(row: Sample, mate: Sample, other: Sample) -> None:
    first = losses(batch([[mate, row]])).cross_entropy[answers(mate) :]
    second = losses(batch([[other, row]])).cross_entropy[answers(other) :]
    assert (first - second).abs().max() <= 1e-5


def branched(branch: int, answer: str) -> tuple[Sample, np.ndarray]:
    """A row of several branches, one of whose answers is `answer`; and the branch of each answer position."""
    base = MINI["vqa-v2"].row("train", 0)
    talks = list(base.conversations)
    talks[branch] = (talks[branch][0], Turn(role="assistant", content=answer))
    built = build_sample(replace(base, conversations=tuple(talks)), "vqa-v2", feed(), tokens())
    return built, built.tree.segment[built.tree.weights > 0]


@pytest.mark.parametrize("changed", [0, 1])
def test_another_branch_changes_nothing(changed: int) -> None:
    (one, segment), (two, other) = branched(changed, "a much longer answer 1"), branched(changed, "7")
    assert set(segment) == set(other) >= {0, 1}
    assert (one.tree.segment == PREFIX_SEGMENT).any()
    first, second = alone(one).cross_entropy, alone(two).cross_entropy
    for branch in set(segment) - {changed}:
        assert (first[segment == branch] - second[other == branch]).abs().max() <= 1e-5
    # Negative control: the changed branch itself is another one.
    assert (segment == changed).sum() != (other == changed).sum()


def test_a_branch_has_the_loss_of_a_row_with_this_branch_only() -> None:
    base = MINI["vqa-v2"].row("train", 1)
    tree = sample("vqa-v2", 1)
    segment = tree.tree.segment[tree.tree.weights > 0]
    together = alone(tree).cross_entropy
    for branch, talk in enumerate(base.conversations):
        meta = {key: [value[branch]] if isinstance(value, list) else value for key, value in base.meta.items()}
        single = build_sample(replace(base, conversations=(talk,), meta=meta), "vqa-v2", feed(), tokens())
        assert single.tree.labels == (segment == branch).sum()
        assert (alone(single).cross_entropy - together[segment == branch]).abs().max() <= 1e-5


def test_images_and_video_share_a_pack_and_are_seen() -> None:
    image, video = sample("pixmo-cap", 0), sample("molmo2-cap", 1)
    both = batch([[image, video]])
    assert both.visual.grids[:, 2:].any(axis=1).tolist() == [True, False]
    sound = losses(both).cross_entropy
    border = answers(image)
    for number, part in ((0, slice(None, border)), (1, slice(border, None))):
        patches = both.visual.patches.copy()
        start = [0, image.inputs][number]
        patches[start] = 255 - patches[start]
        seen = losses(replace(both, visual=replace(both.visual, patches=patches))).cross_entropy
        assert (seen[part] - sound[part]).abs().max() > 1e-4, "a changed picture changes its own row"
        rest = slice(border, None) if number == 0 else slice(None, border)
        assert (seen[rest] - sound[rest]).abs().max() <= 1e-5, "and no other"


def test_a_changed_time_text_is_seen() -> None:
    row = sample("molmo2-cap", 0)
    one = batch([[row]])
    first = int(np.argmax(one.input_ids[0] == tokens().added("<frame_start>")))
    ids = one.input_ids.copy()
    ids[0, first - 2] = tokens().encode("9")[0]
    assert ids[0, first - 2] != one.input_ids[0, first - 2]
    assert (losses(replace(one, input_ids=ids)).cross_entropy - losses(one).cross_entropy).abs().max() > 1e-4


def gradients(of: Batch) -> dict[str, torch.Tensor | None]:
    MODEL.zero_grad(set_to_none=True)
    forward(MODEL, of).total.backward()
    return {name: parameter.grad for name, parameter in MODEL.named_parameters()}


@pytest.mark.parametrize("names", [("tulu",), ("pixmo-cap",), ("molmo2-cap",), ("tulu", "molmo2-cap", "vqa-v2")])
def test_every_parameter_has_a_gradient(names: Sequence[str]) -> None:
    found = gradients(batch([[sample(name, 0) for name in names]]))
    assert [name for name, gradient in found.items() if gradient is None] == []
    assert all(torch.isfinite(gradient).all() for gradient in found.values() if gradient is not None)
    moved = {name for name, gradient in found.items() if gradient is not None and gradient.any()}
    if names == ("tulu",):
        assert not any("vision_tower" in name or "projector" in name for name in moved), "text teaches no vision"
    else:
        # Softmax does not see a constant added to all keys.
        still = {name for name in found if name not in moved and not name.endswith("k_proj.bias")}
        assert still == set()


def test_a_text_only_batch_has_the_loss_of_plain_text() -> None:
    row = sample("tulu", 1)
    tree = row.tree
    with torch.no_grad():
        logits = MODEL(
            input_ids=torch.from_numpy(tree.input_ids)[None],
            mm_token_type_ids=torch.zeros((1, len(tree)), dtype=torch.long),
            use_cache=False,
        ).logits[0]
    keep = tree.weights > 0
    targets, weights = torch.from_numpy(tree.targets[keep]), torch.from_numpy(tree.weights[keep])
    wanted = answer_loss(logits[keep], torch.nn.Identity(), targets, weights)
    assert alone(row).total.item() == pytest.approx(wanted.total.item(), rel=1e-5)


@pytest.mark.parametrize("with_image", [False, True])
def test_a_pack_of_broken_rows_only_costs_nothing(with_image: bool) -> None:
    """A micro-batch may hold nothing to learn, while others of its step do."""
    row = MINI["pixmo-cap"].row("train", 0)
    blank = broken_sample(measure(row, "pixmo-cap", feed(), tokens()), tokens())
    packs = [[blank]]
    if with_image:
        shown = sample("pixmo-cap", 1)
        tree = replace(shown.tree, weights=np.zeros_like(shown.tree.weights))
        packs.append([replace(shown, tree=tree)])
    of = batch(packs)
    loss = forward(MODEL, of)
    assert loss.total.item() == 0
    assert len(loss.cross_entropy) == len(loss.weight) == 0
    found = gradients(of)
    assert all(gradient is not None and not gradient.any() for gradient in found.values())


def test_the_number_of_packs_beside_does_not_matter() -> None:
    rows = [sample("pixmo-points", 1), sample("tulu", 2), sample("molmo2-capqa", 1)]
    side_by_side = losses(batch([rows]))
    apart = losses(batch([[row] for row in rows]))
    assert side_by_side.total.item() == pytest.approx(apart.total.item(), rel=1e-5)
    assert (side_by_side.cross_entropy - apart.cross_entropy).abs().max() <= 1e-5


def as_tensors(of: Any) -> Any:
    """The same arrays as tensors in host memory, as a loader that pins them delivers."""
    values = {field.name: getattr(of, field.name) for field in fields(of)}
    return replace(
        of,
        **{
            name: torch.from_numpy(value.copy()) if isinstance(value, np.ndarray) else as_tensors(value)
            for name, value in values.items()
        },
    )


@pytest.mark.parametrize("name", ["molmo2-cap", "tulu"])
def test_a_batch_of_tensors_is_a_batch_of_arrays(name: str) -> None:
    of = batch([[sample("vqa-v2", 0), sample(name, 0)], [sample("tulu", 1)]])
    arrays, tensors = losses(of), losses(as_tensors(of))
    assert torch.equal(arrays.total, tensors.total)
    assert torch.equal(arrays.cross_entropy, tensors.cross_entropy)


def test_pictures_without_their_placeholders_are_refused() -> None:
    of = batch([[sample("tallyqa", 0)]])
    count = len(of.visual.pooling)
    less = replace(of, visual=replace(of.visual, pooling=of.visual.pooling[1:]))
    with pytest.raises(DataError, match=f"{count} placeholders for {count - 1} visual features, {count - 1} of them"):
        forward(MODEL, less)
    pooling = of.visual.pooling.copy()
    pooling[0] = -1
    with pytest.raises(DataError, match=f"{count} placeholders for {count} visual features, {count - 1} of them"):
        forward(MODEL, replace(of, visual=replace(of.visual, pooling=pooling)))


# The device is never waited for --------------------------------------------------------------------------------------

WAITS = (DataDependentOutputException, DynamicOutputShapeException)
"""What tensors without values answer when a value, or a shape that depends on values, is asked for.

This is the stand-in, on a machine without an accelerator, for `torch.cuda.set_sync_debug_mode("error")`.
"""


@pytest.fixture(scope="module")
def valueless() -> tuple[FakeTensorMode, Any]:
    """A model of tensors that have shapes and no values."""
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    with mode:
        return mode, model().train()


@pytest.fixture
def no_copies_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Copies to the host wait too, and cost nothing without a device."""

    def refused(*_: object, **__: object) -> None:
        raise AssertionError("a tensor is copied to the host")

    for name in ("cpu", "numpy", "tolist", "item"):
        monkeypatch.setattr(torch.Tensor, name, refused)


@pytest.mark.parametrize("names", [("vqa-v2", "molmo2-cap"), ("tulu",)])
def test_no_step_waits_for_the_device(
    names: Sequence[str], valueless: tuple[FakeTensorMode, Any], no_copies_back: None
) -> None:
    mode, net = valueless
    of = batch([[sample(name, 0) for name in names], [sample("tulu", 1)]])
    with mode:
        loss = forward(net, of)
        loss.total.backward()
    assert loss.cross_entropy.shape == ((of.weights > 0).sum(),)
    assert all(parameter.grad is not None for parameter in net.parameters())


def test_negative_control_values_and_places_that_are_asked_for_are_noticed(
    valueless: tuple[FakeTensorMode, Any],
) -> None:
    mode, net = valueless
    of = batch([[sample("tallyqa", 0)]])
    with mode:
        loss = forward(net, of)
        for asks in (loss.total.item, (loss.weight > 0).nonzero, lambda: loss.weight[loss.weight > 0]):
            with pytest.raises(WAITS):
                asks()
        with pytest.raises(WAITS):
            # The stock path from pixels to embeddings does ask.
            net.get_image_features(
                normalise_patches(torch.as_tensor(of.visual.patches)),
                torch.as_tensor(of.visual.pooling),
                torch.as_tensor(of.visual.grids),
            )
