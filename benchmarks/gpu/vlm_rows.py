"""Rows of pictures and text for G3 and G4: the seeded trace of the performance spec, with random pixels and ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from benchmarks.row_trace import row_trace
from trackyard.feed.batch import Batch, collate, stack_packs
from trackyard.feed.geometry import VisionGeometry
from trackyard.feed.sample import Sample
from trackyard.feed.tree import NO_TARGET, TokenTree
from trackyard.feed.videos import VideoInputs
from trackyard.models.molmo2 import build_config, random_model
from trackyard.models.presets import PRESETS, Preset, PresetName
from trackyard.plan.packing import Budget, first_fit_decreasing

SEED = 0
ANSWER = 0.5
"""Share of a row's text that is learned."""


@dataclass(frozen=True, kw_only=True)
class Size:
    """A preset at some depth; packs of `length` tokens and `inputs` pictures; rows of the trace, divided by scale."""

    preset: PresetName
    layers: int
    geometry: VisionGeometry
    length: int
    inputs: int
    scale: int

    @property
    def shape(self) -> Preset:
        return PRESETS[self.preset]


def model_of(size: Size, device: torch.device) -> Any:
    """Stock Molmo2 with random fp32 weights, as deep as `size` says."""
    if size.layers == size.shape.layers:
        with device:
            return random_model(size.preset, size.geometry, max_positions=size.length, seed=SEED)
    from transformers import Molmo2ForConditionalGeneration

    config = build_config(size.shape, size.geometry, vocab_size=size.shape.vocab_size, max_positions=size.length)
    config.text_config.num_hidden_layers = size.layers
    torch.manual_seed(SEED)
    with device:
        return Molmo2ForConditionalGeneration(config)


def rows_of(size: Size, count: int) -> list[Sample]:
    """Samples with the lengths of the trace: a row's pictures first, each 3 x 3 pooled, then its text."""
    source = np.random.default_rng(SEED)
    tokens, inputs, _ = row_trace(count, source)
    per_input = _pooling(size.geometry)[0].shape[0] + 2
    samples = []
    for length, wanted in zip(tokens // size.scale, inputs // size.scale, strict=True):
        room = min(int(length), size.length)
        pictures = int(min(wanted, size.inputs, max(0, room - 8) // per_input))
        samples.append(_sample(size, pictures, max(8, room - pictures * per_input), source))
    return samples


def _pooling(geometry: VisionGeometry) -> tuple[Any, tuple[int, int]]:
    """Windows of one picture, int64 [pooled, 9] with -1 at the edge, and the grid that they form."""
    side, step = geometry.crop_patches, geometry.video_pooling
    across = -(-side // step)
    padded = np.full((across * step, across * step), -1, dtype=np.int64)
    padded[:side, :side] = np.arange(side * side).reshape(side, side)
    windows = padded.reshape(across, step, across, step).transpose(0, 2, 1, 3).reshape(across * across, step * step)
    return windows, (across, across)


def _sample(size: Size, pictures: int, text: int, source: np.random.Generator) -> Sample:
    geometry, vocab = size.geometry, size.shape.vocab_size
    windows, (rows, columns) = _pooling(geometry)
    # Ids of added tokens follow the vocabulary: patch 2, frame start 7, frame end 8 (molmo2 spec section 1).
    frame = np.array([vocab + 7, *[vocab + 2] * len(windows), vocab + 8])
    ids = np.concatenate([np.tile(frame, pictures), source.integers(0, vocab, text)]).astype(np.int64)
    visual = np.arange(len(ids)) < len(ids) - text
    learned = np.arange(len(ids)) >= len(ids) - max(1, int(text * ANSWER))
    targets = np.full(len(ids), NO_TARGET, dtype=np.int64)
    targets[:-1][learned[1:]] = ids[1:][learned[1:]]
    weights = np.where(targets != NO_TARGET, 1.0, 0.0).astype(np.float32)
    tree = TokenTree(
        input_ids=ids,
        segment=np.zeros(len(ids), dtype=np.int64),
        position=np.arange(len(ids)),
        visual=visual,
        targets=targets,
        weights=weights,
    )
    if not pictures:
        return Sample(tree=tree)
    moved = np.arange(pictures)[:, None, None] * geometry.patches
    pooling = np.where(windows[None] >= 0, windows[None] + moved, -1).reshape(-1, windows.shape[1])
    patches = source.integers(0, 256, (pictures, geometry.patches, geometry.patch_values), dtype=np.uint8)
    medium = VideoInputs(patches=patches, pooling=pooling, grid=(pictures * rows, columns, 0, 0))
    return Sample(tree=tree, media=(medium,))


def packs_of(size: Size, packs: int) -> list[list[Sample]]:
    """The first full packs of first-fit decreasing over a trace that is long enough."""
    samples = rows_of(size, 16 * packs)
    lengths = [len(sample.tree) for sample in samples]
    pictures = [sample.inputs for sample in samples]
    bins = first_fit_decreasing(lengths, pictures, budget=Budget(tokens=size.length, inputs=size.inputs))
    return [[samples[place] for place in places] for places in bins[:packs]]


def packed(size: Size, rows: Sequence[Sample]) -> Batch:
    """One sequence."""
    return stack_packs([collate(rows, length=size.length, pad=0, geometry=size.geometry)], geometry=size.geometry)


def padded(size: Size, rows: Sequence[Sample]) -> Batch:
    """A sequence for each row, all as long as the longest."""
    longest = max(len(row.tree) for row in rows)
    alone = [collate([row], length=longest, pad=0, geometry=size.geometry) for row in rows]
    return stack_packs(alone, geometry=size.geometry)


def weight_of(rows: Sequence[Sample]) -> float:
    return sum(float(row.tree.weights.sum(dtype="float64")) for row in rows)
