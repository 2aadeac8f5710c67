"""One pack of stage 3 at its full 36,864 tokens, on 1 rank and on 2 that share it: `python -m` this module RESULTS.

Two videos of 192 frames with 81 features each fill most of it. The network is narrow; lengths, pooling and mask are
those of the real thing.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from transformers import Molmo2ForConditionalGeneration

from tests.memory import peak_growth
from tests.models.context_ranks import difference, forked, join, molmo2_loss, step
from trackyard.feed.batch import Batch, Visual
from trackyard.feed.geometry import VisionGeometry, pooling_windows
from trackyard.feed.tree import EXAMPLE_STRIDE, NO_TARGET, PREFIX_SEGMENT
from trackyard.models.attention import use_masks
from trackyard.models.context import ContextGroup
from trackyard.models.molmo2 import build_config
from trackyard.models.presets import Preset

LENGTH, FRAMES, SIDE = 36_864, 192, 27
VOCABULARY = 256
GEOMETRY = VisionGeometry(crop_size=2 * SIDE, patch_size=2, margin=(4, 4), max_crops=1)
PRESET = Preset(
    hidden_size=32, layers=2, heads=2, kv_heads=1, head_dim=8, ffn=64, vit_hidden=16, vit_layers=2, vit_heads=2,
    vit_ffn=32, vit_feature_layers=(1, 0), vocab_size=VOCABULARY, rope_theta=10_000.0, initial_std=(0.1, 0.1, 0.1),
)  # fmt: skip


def network() -> Any:
    config = build_config(PRESET, GEOMETRY, vocab_size=VOCABULARY, max_positions=LENGTH)
    torch.manual_seed(0)
    net: Any = Molmo2ForConditionalGeneration(config).train()
    use_masks(net, "dense")
    return net


def pack(placeholder: int) -> Batch:
    """A row of text, two videos with two branches each, and padding."""
    random = np.random.default_rng(1)
    windows = pooling_windows(np.arange(SIDE * SIDE).reshape(SIDE, SIDE), 3)
    shown = np.array(([0] * 3 + [1] + [placeholder] * len(windows) + [1]) * FRAMES)
    text, prompt, branch = 1500, 40, 300
    # (tokens, segment, row, first position)
    parts = [(random.integers(2, VOCABULARY, text), 0, 0, 0)]
    for row in (1, 2):
        prefix = np.concatenate([shown, random.integers(2, VOCABULARY, prompt)])
        parts.append((prefix, EXAMPLE_STRIDE * row + PREFIX_SEGMENT, row, 0))
        for number in range(2):
            parts.append((random.integers(2, VOCABULARY, branch), EXAMPLE_STRIDE * row + number, row, len(prefix)))
    used = sum(len(ids) for ids, *_ in parts)
    assert 0.95 * LENGTH < used < LENGTH
    parts.append((np.zeros(LENGTH - used, dtype=np.int64), -1, -1, 0))
    ids = np.concatenate([part for part, *_ in parts])
    segments, rows = (
        np.repeat([part[column] for part in parts], [len(part[0]) for part in parts]) for column in (1, 2)
    )
    learned = (segments >= 0) & (segments % EXAMPLE_STRIDE != PREFIX_SEGMENT) & (random.random(LENGTH) < 0.3)
    offsets = np.arange(2 * FRAMES)[:, None, None] * SIDE * SIDE
    return Batch(
        input_ids=ids[None],
        positions=np.concatenate([start + np.arange(len(part)) for part, _, _, start in parts])[None],
        segments=segments[None],
        examples=rows[None],
        visual_flags=((ids == placeholder) | (ids == 1))[None],
        targets=np.where(learned, random.integers(2, VOCABULARY, LENGTH), NO_TARGET)[None],
        weights=np.where(learned, 1.0, 0.0).astype(np.float32)[None],
        visual=Visual(
            patches=random.integers(0, 256, (2 * FRAMES, SIDE * SIDE, 12)).astype(np.uint8),
            pooling=(windows[None] + offsets).reshape(-1, windows.shape[1]),
            grids=np.array([[FRAMES * 9, 9, 0, 0]] * 2),
        ),
    )


def work(rank: int, store: str, results: Path) -> None:
    join(rank, 2, store)
    net = network()
    of = pack(net.config.image_token_id)
    weight = float(of.weights.sum(dtype=np.float64))
    costs: dict[str, float] = {}

    def timed(name: str, group: dist.ProcessGroup | None, context: ContextGroup | None) -> Any:
        started = time.process_time()
        with peak_growth() as growth:
            found = step(net, molmo2_loss, of, weight, group, context)
            costs[f"{name} peak bytes"] = growth()
        costs[f"{name} seconds"] = time.process_time() - started
        return found

    alone = timed("1 rank", None, None) if rank == 0 else None
    dist.barrier()
    shared = timed("2 ranks", dist.group.WORLD, ContextGroup.of(dist.group.WORLD))
    if alone is not None:
        results.write_text(json.dumps(difference(shared, alone) | costs))
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    sys.exit(forked(work, 2, Path(sys.argv[1])))
