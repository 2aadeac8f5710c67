from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trackyard.errors import DataError
from trackyard.feed.batch import Pack, collate, stack_packs
from trackyard.feed.geometry import VisionGeometry, pooling_windows
from trackyard.feed.images import ImageInputs, prepare_image
from trackyard.feed.sample import Sample
from trackyard.feed.styles import style_of
from trackyard.feed.tree import NO_TARGET, Stretch, grow_tree
from trackyard.feed.videos import VideoInputs

SMALL = VisionGeometry(crop_size=56, margin=(1, 1), max_crops=3)
PATCH, PAD = 102, 0


def photo(value: int) -> ImageInputs:
    return prepare_image(np.full((60, 60 + 40 * (value % 3), 3), value, dtype=np.uint8), SMALL, 3)


def clip(value: int) -> VideoInputs:
    patches = np.full((2, 16, SMALL.patch_values), value / 255, dtype=np.float32)
    window = pooling_windows(np.arange(16).reshape(4, 4), 3)
    pooling = np.concatenate([window, np.where(window >= 0, window + 16, -1)])
    return VideoInputs(patches=patches, pooling=pooling, grid=(4, 2, 0, 0))


def sample(media: Sequence[ImageInputs | VideoInputs], branches: int = 1) -> Sample:
    prefix = [Stretch([1]), *(Stretch([PATCH] * len(medium.pooling), visual=True) for medium in media)]
    tree = grow_tree(
        prefix, [[Stretch([3]), Stretch([4, 5], learned=True)]] * branches, style_of("vqa2"), vocab_size=100
    )
    return Sample(tree=tree, media=tuple(media))


def pack(samples: Sequence[Sample], length: int = 200) -> Pack:
    return collate(samples, length=length, pad=PAD, geometry=SMALL)


def test_token_arrays_and_padding() -> None:
    packed = pack([sample([]), sample([], branches=2)], length=15)
    assert packed.input_ids.tolist() == [1, 3, 4, 5, 1, 3, 4, 5, 3, 4, 5, 0, 0, 0, 0]
    assert packed.segments.tolist() == [0] * 4 + [110_000] + [100_000] * 3 + [100_001] * 3 + [-1] * 4
    assert packed.examples.tolist() == [0] * 4 + [1] * 7 + [-1] * 4
    assert packed.positions.tolist() == [0, 1, 2, 3, 0, 1, 2, 3, 1, 2, 3, 0, 0, 0, 0]
    no = NO_TARGET
    assert packed.targets.tolist() == [no, 4, 5, no, no, 4, 5, no, 4, 5, no, no, no, no, no]
    assert packed.weights.dtype == np.float32
    assert packed.weights.sum() == pytest.approx(2 / 2**0.5 * 2 + 2 / 2 * 4)
    assert packed.visual.patches.shape == (0, SMALL.patches, SMALL.patch_values)
    assert packed.visual.pooling.shape == (0, 9)
    assert packed.visual.grids.shape == (0, 4)


def test_too_many_rows_are_refused() -> None:
    with pytest.raises(DataError, match="2 rows of 8 tokens for a pack of 7"):
        pack([sample([]), sample([])], length=7)


media = st.lists(
    st.tuples(st.booleans(), st.integers(1, 255)).map(lambda kv: photo(kv[1]) if kv[0] else clip(kv[1])), max_size=3
)
packs = st.lists(st.lists(media, min_size=1, max_size=3), min_size=1, max_size=3)


@settings(max_examples=40, deadline=None)
@given(packs)
def test_pooling_finds_its_own_patches_in_placeholder_order(
    contents: list[list[list[ImageInputs | VideoInputs]]],
) -> None:
    batch = stack_packs([pack([sample(row) for row in rows], length=1000) for rows in contents], geometry=SMALL)
    every = [medium for rows in contents for row in rows for medium in row]
    flat = batch.visual.patches.reshape(-1, SMALL.patch_values)
    assert batch.visual.pooling.shape == (int((batch.input_ids == PATCH).sum()), 9)
    assert batch.visual.pooling.max(initial=-1) < len(flat)
    start = 0
    for medium, grid in zip(every, batch.visual.grids, strict=True):
        own = medium.patches.reshape(-1, SMALL.patch_values)
        stop = start + len(medium.pooling)
        joined = batch.visual.pooling[start:stop]
        width = medium.pooling.shape[1]
        assert (joined[:, width:] == -1).all()
        assert ((joined[:, :width] < 0) == (medium.pooling < 0)).all()
        used = medium.pooling >= 0
        assert (flat[joined[:, :width][used]] == own[medium.pooling[used]]).all()
        assert tuple(grid) == medium.grid
        start = stop
    assert start == len(batch.visual.pooling)


def test_the_mask_of_a_batch_isolates_rows_and_packs() -> None:
    batch = stack_packs([pack([sample([photo(9)]), sample([clip(3)], 2)], 60), pack([sample([])], 60)], geometry=SMALL)
    mask = batch.dense_mask()
    assert mask.shape == (2, 60, 60)
    assert mask.dtype == np.bool_
    apart = batch.examples[:, :, None] != batch.examples[:, None, :]
    assert not (mask & apart).any()
    padding = batch.examples[1] == -1
    assert (mask[1][padding].sum(axis=1) == 1).all()
    visual = batch.visual_flags[0] & (batch.examples[0] == 0)
    assert mask[0][np.ix_(visual, visual)].all(), "visual tokens of a row see each other both ways"
