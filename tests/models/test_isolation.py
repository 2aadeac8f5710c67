"""Isolation in logits: a row sees itself, a branch sees its prefix, and nobody sees anything else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.tiny_molmo2 import VOCABULARY, batch, model, sample
from trackyard.feed.batch import Batch
from trackyard.feed.sample import Sample
from trackyard.feed.tree import NO_TARGET, PREFIX_SEGMENT
from trackyard.feed.visibility import Visibility
from trackyard.models.attention import dense_mask
from trackyard.models.pixels import normalise_patches
from trackyard.recipes.molmo2.forward import forward

torch.set_num_threads(1)
MODEL: Any = model().eval()
CPU = torch.device("cpu")

NAMES = ("pixmo-points", "tulu", "molmo2-cap", "vqa-v2", "tallyqa", "molmo2-capqa")
"""Images, text, video, several branches, several images, questions about a video."""
ROWS = st.tuples(st.sampled_from(NAMES), st.integers(0, 2)).map(lambda pair: sample(*pair))


def visibility_of(of: Batch) -> Visibility:
    return Visibility.of(of.segments, of.examples, of.visual_flags)


def logits(of: Batch, *, stock_mask: bool = False) -> torch.Tensor:
    """All logits [N, L, V]; `stock_mask`: position resets and `mm_token_type_ids` alone, the mask forgotten."""
    visual: dict[str, torch.Tensor] = {}
    if len(of.visual.grids):
        visual = {
            "pixel_values": normalise_patches(torch.as_tensor(of.visual.patches)),
            "image_token_pooling": torch.as_tensor(of.visual.pooling),
            "image_grids": torch.as_tensor(of.visual.grids),
        }
    with torch.inference_mode():
        found: torch.Tensor = MODEL(
            input_ids=torch.as_tensor(of.input_ids),
            position_ids=torch.as_tensor(of.positions),
            mm_token_type_ids=torch.as_tensor(of.visual_flags).long(),
            attention_mask=None if stock_mask else dense_mask(visibility_of(of), CPU),
            use_cache=False,
            **visual,
        ).logits
    return found


def alone(of: Sample) -> torch.Tensor:
    return logits(batch([[of]], length=len(of.tree)))[0]


def distance_to_the_rows_alone(packs: list[list[Sample]], *, stock_mask: bool = False) -> float:
    """Largest difference of a logit in the packs from the same logit of its row alone."""
    found, worst = logits(batch(packs), stock_mask=stock_mask), 0.0
    for number, pack in enumerate(packs):
        start = 0
        for row in pack:
            stop = start + len(row.tree)
            worst = max(worst, float((found[number, start:stop] - alone(row)).abs().max()))
            start = stop
    return worst


def with_other_tokens(of: Batch, where: NDArray[np.bool_]) -> Batch:
    """The same batch with another text token at each place of `where` [N, L] that holds text."""
    changed = where & ~of.visual_flags & (of.input_ids < VOCABULARY)
    assert changed.any()
    return replace(of, input_ids=np.where(changed, (of.input_ids + 7) % VOCABULARY, of.input_ids))


@settings(max_examples=5, deadline=None)
@given(st.lists(st.lists(ROWS, min_size=1, max_size=3), min_size=1, max_size=2))
def test_packed_logits_are_the_logits_of_the_rows_alone(packs: list[list[Sample]]) -> None:
    assert distance_to_the_rows_alone(packs) <= 1e-5


def test_negative_control_the_stock_mask_fails_the_same_test() -> None:
    pictures = [[sample("tallyqa", 0), sample("molmo2-cap", 0)]]
    assert distance_to_the_rows_alone(pictures) <= 1e-5
    assert distance_to_the_rows_alone(pictures, stock_mask=True) > 1e-3
    branches = [[sample("vqa-v2", 0)]]
    assert distance_to_the_rows_alone(branches) <= 1e-5
    assert distance_to_the_rows_alone(branches, stock_mask=True) > 1e-3


@settings(max_examples=4, deadline=None)
@given(ROWS, ROWS, ROWS)
def test_other_pack_mates_change_nothing(before: Sample, row: Sample, after: Sample) -> None:
    first = logits(batch([[before, row, after]]))[0, len(before.tree) :][: len(row.tree)]
    second = logits(batch([[after, row]]))[0, len(after.tree) :][: len(row.tree)]
    assert (first - second).abs().max() <= 1e-5


@settings(max_examples=4, deadline=None)
@given(st.integers(0, 3), st.booleans(), st.data())
def test_another_branch_changes_no_other(index: int, packed: bool, data: st.DataObject) -> None:
    """Every token of one branch is another one: only its own logits move."""
    row = sample("vqa-v2", index)
    of = batch([[sample("tulu", 0), row] if packed else [row]])
    segment = np.where(of.examples == of.examples.max(), of.segments % 100_000, -1)
    branches = sorted(set(row.tree.segment.tolist()) - {PREFIX_SEGMENT})
    assert len(branches) > 1
    branch = data.draw(st.sampled_from(branches))
    moved = (logits(with_other_tokens(of, segment == branch)) - logits(of)).abs().amax(dim=-1).numpy()
    assert moved[segment != branch].max() <= 1e-5
    assert moved[segment == branch].min() > 1e-4, "and its own logits all do"


def unseen(of: Batch) -> NDArray[np.bool_]:
    """Tokens [N, L] that have no target and that no token with a target may attend."""
    teaches = of.targets != NO_TARGET
    hidden: NDArray[np.bool_] = ~teaches & ~(visibility_of(of).dense() & teaches[:, :, None]).any(axis=1)
    return hidden


def loss(of: Batch) -> float:
    with torch.inference_mode():
        return float(forward(MODEL, of).total)


@settings(max_examples=5, deadline=None)
@given(st.lists(ROWS, min_size=1, max_size=3))
def test_tokens_that_nobody_learns_from_change_no_loss(pack: list[Sample]) -> None:
    """Padding, and the last token of each branch."""
    of = batch([pack])
    wanted, hidden = loss(of), unseen(of)
    assert (hidden | (of.examples >= 0)).all(), "padding is among them"
    assert (hidden & (of.examples >= 0)).any()
    assert abs(loss(with_other_tokens(of, hidden)) - wanted) <= 1e-5 * wanted
    # Negative control: a token that is attended does.
    assert abs(loss(with_other_tokens(of, ~hidden)) - wanted) > 1e-3 * wanted


def test_a_row_that_teaches_nothing_changes_no_loss_of_its_mates() -> None:
    mute, row = sample("pixmo-cap", 1), sample("molmo2-cap", 1)
    tree = replace(
        mute.tree, weights=np.zeros_like(mute.tree.weights), targets=np.full_like(mute.tree.targets, NO_TARGET)
    )
    of = batch([[replace(mute, tree=tree), row]])
    wanted = loss(batch([[row]]))
    patches = np.array(of.visual.patches)
    patches[: mute.inputs] = 255 - patches[: mute.inputs]
    changed = with_other_tokens(replace(of, visual=replace(of.visual, patches=patches)), of.examples == 0)
    assert unseen(of)[of.examples == 0].all()
    assert abs(loss(changed) - wanted) <= 1e-5 * wanted
    # Negative control: the stock mask lets the other row see this change.
    moved = (logits(changed, stock_mask=True) - logits(of, stock_mask=True)).abs()
    assert moved[torch.from_numpy(of.examples == 1)].max() > 1e-3
