"""Samples side by side: one pack is one sequence, a micro-batch is several packs. NumPy only.

Source: molmo2 spec sections 1 (tensors), 8 (segments) and 9 (packs).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trackyard.errors import DataError
from trackyard.feed.geometry import VisionGeometry, widen_windows
from trackyard.feed.sample import Sample
from trackyard.feed.tree import EXAMPLE_STRIDE, NO_TARGET, PADDING_EXAMPLE, Flags, Floats, Ints, allowed


@dataclass(frozen=True, kw_only=True, slots=True)
class Visual:
    """Visual inputs in the order of their placeholders; all arrays empty (first axis 0) where there are none.

    patches: uint8 [n_inputs, n_patches, patch_values], pixel values that become numbers in [-1, 1] on the device that
    the model is on. pooling: int64 [n_pooled, width], indices into the flattened patches, -1 = empty; width is the
    larger pooling window, so that images and video share the tensor. grids: int64 [n_media, 4] as the stock
    `image_grids`.
    """

    patches: NDArray[np.uint8]
    pooling: Ints
    grids: Ints


@dataclass(frozen=True, kw_only=True, slots=True)
class Pack:
    """One sequence of `length` tokens. Token arrays [length]; example is PADDING_EXAMPLE at padding.

    targets[t] is what token t must predict (NO_TARGET: nothing), weights[t] its loss weight.
    """

    input_ids: Ints
    positions: Ints
    segments: Ints
    examples: Ints
    visual_flags: Flags
    targets: Ints
    weights: Floats
    visual: Visual


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """A micro-batch of N packs: token arrays [N, length], visual inputs of all packs in one."""

    input_ids: Ints
    positions: Ints
    segments: Ints
    examples: Ints
    visual_flags: Flags
    targets: Ints
    weights: Floats
    visual: Visual

    def dense_mask(self) -> Flags:
        """Attention mask [N, length, length], True where a query may attend a key: N * length^2 bytes."""
        rows = zip(self.segments, self.examples, self.visual_flags, strict=True)
        return np.stack([allowed(segment, example, flags) for segment, example, flags in rows])


def collate(samples: Sequence[Sample], *, length: int, pad: int, geometry: VisionGeometry) -> Pack:
    """Put samples side by side and fill up with padding. DataError if they are longer than `length` together."""
    used = sum(len(sample.tree) for sample in samples)
    if used > length:
        raise DataError(
            what=f"{len(samples)} rows of {used} tokens for a pack of {length}",
            why="a plan never exceeds its budget, so the rows are not the ones that were measured",
            fix="build the index and the plan again: `dvc repro --force`",
        )
    fill = length - used
    trees = [sample.tree for sample in samples]

    def integers(columns: Sequence[Ints], padding: int) -> Ints:
        return np.concatenate([*columns, np.full(fill, padding, dtype=np.int64)])

    return Pack(
        input_ids=integers([tree.input_ids for tree in trees], pad),
        positions=integers([tree.position for tree in trees], 0),
        segments=integers([EXAMPLE_STRIDE * e + tree.segment for e, tree in enumerate(trees)], PADDING_EXAMPLE),
        examples=integers([np.full(len(tree), e, dtype=np.int64) for e, tree in enumerate(trees)], PADDING_EXAMPLE),
        visual_flags=np.concatenate([*(tree.visual for tree in trees), np.zeros(fill, dtype=np.bool_)]),
        targets=integers([tree.targets for tree in trees], NO_TARGET),
        weights=np.concatenate([*(tree.weights for tree in trees), np.zeros(fill, dtype=np.float32)]),
        visual=_join([visual for sample in samples for visual in _visuals(sample, geometry)], geometry),
    )


def _visuals(sample: Sample, geometry: VisionGeometry) -> list[Visual]:
    """Each medium of a sample, its windows widened to the shared width."""
    width = _width(geometry)
    return [
        Visual(
            patches=medium.patches,
            pooling=widen_windows(medium.pooling, width),
            grids=np.array([medium.grid], dtype=np.int64),
        )
        for medium in sample.media
    ]


def _width(geometry: VisionGeometry) -> int:
    return max(geometry.image_pooling, geometry.video_pooling) ** 2


def _join(visuals: Sequence[Visual], geometry: VisionGeometry) -> Visual:
    """Concatenate, moving pooling indices to where each part's patches come to lie. A single part is not copied."""
    if len(visuals) == 1:
        return visuals[0]
    if not visuals:
        return Visual(
            patches=np.zeros((0, geometry.patches, geometry.patch_values), dtype=np.uint8),
            pooling=np.zeros((0, _width(geometry)), dtype=np.int64),
            grids=np.zeros((0, 4), dtype=np.int64),
        )
    offset = 0
    pooling = []
    for visual in visuals:
        pooling.append(np.where(visual.pooling >= 0, visual.pooling + offset, -1))
        offset += visual.patches.shape[0] * visual.patches.shape[1]
    return Visual(
        patches=np.concatenate([visual.patches for visual in visuals]),
        pooling=np.concatenate(pooling),
        grids=np.concatenate([visual.grids for visual in visuals]),
    )


def stack_packs(packs: Sequence[Pack], *, geometry: VisionGeometry) -> Batch:
    """Packs of equal length as one micro-batch; pooling indices continue from pack to pack."""
    return Batch(
        input_ids=np.stack([pack.input_ids for pack in packs]),
        positions=np.stack([pack.positions for pack in packs]),
        segments=np.stack([pack.segments for pack in packs]),
        examples=np.stack([pack.examples for pack in packs]),
        visual_flags=np.stack([pack.visual_flags for pack in packs]),
        targets=np.stack([pack.targets for pack in packs]),
        weights=np.stack([pack.weights for pack in packs]),
        visual=_join([pack.visual for pack in packs], geometry),
    )
