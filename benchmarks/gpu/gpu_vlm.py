"""G3: Molmo2-4B, rows packed to 16,384 tokens beside the same rows padded to the longest, on the same model and engine.

    python -m benchmarks.gpu.gpu_vlm [--tiny] [--steps N] [--out FILE]

Packages beside trackyard's own: a CUDA build of torch. No hub access: random weights; rows have the lengths of the
seeded trace of the performance spec (10.4), random pixels and random text, of which half is learned. First a tiny model
in fp32 on the same device must give the same loss for packed and padded rows; rows that see each other must be noticed.
Then both ways take turns, on one engine: bf16, everything trained, activations computed again. All 36 layers with
optimiser state want 120 GB; on a smaller device the model is as deep as fits, and the record says so: MFU and ratio
hold for what ran, tokens/s do not compare. Targets: 2 times padded, 40 % MFU.
Source: performance spec sections 3, 4, 9.8, G3.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch

from benchmarks.gpu.device import compile_layers, device_of, in_turns, name_of
from benchmarks.gpu.script import Given, Workload, run, summary
from benchmarks.gpu.vlm_rows import Size, model_of, packed, packs_of, padded, weight_of
from benchmarks.harness import Target, Unequal, figures_of, judge
from benchmarks.limits import at_least
from trackyard.feed.batch import Batch
from trackyard.feed.geometry import VisionGeometry
from trackyard.feed.sample import Sample
from trackyard.feed.visibility import Visibility
from trackyard.models.attention import mask_kind, use_masks
from trackyard.models.molmo2 import component_of
from trackyard.recipes.molmo2.forward import forward
from trackyard.train.engine import Engine
from trackyard.train.flops import molmo2_work, step_flops
from trackyard.train.parameters import ComponentRate, EngineParameters, OptimiserParameters
from trackyard.train.ranks import join_ranks

PACKED, PADDED = "packed", "padded to longest"
PACKS = 2
"""Packs of a step."""
RATE = 1e-5
TOLERANCE = 1e-4
"""Relative difference of an fp32 loss."""
BYTES_PER_WEIGHT = 18
"""bf16 weight, fp32 gradient, master and two moments."""
ACTIVATIONS = 30e9
"""Left for activations, logits and bf16 gradients."""
TINY = Size(
    preset="tiny",
    layers=4,
    geometry=VisionGeometry(crop_size=32, patch_size=8, margin=(1, 1), max_crops=4),
    length=512,
    inputs=16,
    scale=32,
)
FULL = Size(preset="4b", layers=36, geometry=VisionGeometry(), length=16_384, inputs=128, scale=1)


def size_of(tiny: bool, memory: float) -> Size:
    """The whole model, or as many layers as optimiser state leaves room for."""
    if tiny:
        return TINY
    shape = FULL.shape
    attention = shape.hidden_size * shape.head_dim * (2 * shape.heads + 2 * shape.kv_heads)
    layer = attention + 3 * shape.hidden_size * shape.ffn
    others = 440e6 + 2 * shape.hidden_size * (shape.vocab_size + 128)
    fit = int(((memory - ACTIVATIONS) / BYTES_PER_WEIGHT - others) / layer)
    return replace(FULL, layers=max(1, min(shape.layers, fit)))


def engine_of(size: Size, device: torch.device, *, bf16: bool, compiled: bool) -> Engine:
    ranks = join_ranks(1)
    rate = ComponentRate(learning_rate=RATE, warmup_steps=0)
    parameters = EngineParameters(
        precision="bf16" if bf16 else "fp32", zero_stage=1 if bf16 else 0, activation_checkpointing="full"
    )
    model = model_of(size, device)
    use_masks(model, mask_kind(device))
    if compiled:
        compile_layers(model)
    return Engine(
        model,
        component_of=component_of,
        optimiser=OptimiserParameters(rates=dict.fromkeys(("vit", "connector", "llm"), rate)),
        engine=parameters,
        packs_per_step=PACKS,
        steps=10**12,
        forward=partial(forward, loss_chunk=parameters.loss_chunk),
        ranks=ranks,
    )


def compare(device: torch.device) -> None:
    """Raises Unequal unless packed rows give the loss of padded ones, and unless rows in sight of each other do not."""
    model = model_of(TINY, device)
    use_masks(model, mask_kind(device))
    rows = packs_of(TINY, 1)[0]

    def loss(batch: Batch) -> float:
        with torch.no_grad():
            return float(forward(model, batch).total)

    alone, together = loss(padded(TINY, rows)), loss(packed(TINY, rows))
    if not abs(alone - together) <= TOLERANCE * abs(alone):
        raise Unequal(f"packed rows have loss {together}, padded ones {alone}: nothing is timed")
    mixed = packed(TINY, rows)
    inside = np.asarray(mixed.examples) >= 0
    flawed = replace(mixed, segments=np.where(inside, 0, mixed.segments), examples=np.where(inside, 0, mixed.examples))
    if abs(alone - loss(flawed)) <= TOLERANCE * abs(alone):
        raise Unequal("rows that see each other were not noticed: the comparison proves nothing")


def work_of(size: Size, packs: Sequence[Sequence[Sample]]) -> tuple[float, float]:
    """Useful tokens of the packs, and the FLOP that they need: pairs as the rows' own masks allow."""
    rows = [row for pack in packs for row in pack]
    tokens = sum(len(row.tree) for row in rows)
    pairs = sum(
        int(Visibility.of(row.tree.segment, np.zeros(len(row.tree)), row.tree.visual).pairs()[0]) for row in rows
    )
    pooled = sum(len(medium.pooling) for row in rows for medium in row.media)
    work = molmo2_work(
        replace(size.shape, layers=size.layers),
        tokens=tokens,
        answers=sum(row.tree.labels for row in rows),
        pairs=pairs,
        crops=sum(row.inputs for row in rows),
        pooled=pooled,
        window=size.geometry.video_pooling**2,
        patches=size.geometry.patches,
    )
    return float(tokens), step_flops(work)


def measure(given: Given) -> list[Workload]:
    device = device_of(given.tiny)
    compare(device)
    memory = torch.cuda.get_device_properties(device).total_memory if device.type == "cuda" else 0.0
    size = size_of(given.tiny, memory)
    packs = packs_of(size, PACKS * given.per_round)
    tokens, flops = work_of(size, packs)
    engine = engine_of(size, device, bf16=not given.tiny, compiled=given.compiled)
    steps = [packs[at : at + PACKS] for at in range(0, len(packs), PACKS)]

    def turn(arrange: Callable[[Size, Sequence[Sample]], Batch]) -> Callable[[], float]:
        batches = [[arrange(size, pack) for pack in step] for step in steps]

        def work() -> float:
            for number, (step, micro_batches) in enumerate(zip(steps, batches, strict=True)):
                engine.step(number, micro_batches, sum(weight_of(pack) for pack in step))
            return tokens

        return work

    reports, peaks = in_turns({PACKED: turn(packed), PADDED: turn(padded)}, device, rounds=given.rounds)
    figures = figures_of(reports, metric="wall_s")
    for name, figure in figures.items():
        figure["extra"] = summary(
            figure["rate"],
            unit="useful tokens/s",
            flops_per_unit=flops / tokens,
            device=name_of(device),
            peak_gb=peaks[name],
        )
    targets: list[dict[str, Any]] = judge(figures, [Target(peer=PADDED, ratio=2.0)])
    share = figures[PACKED]["extra"]["mfu"]
    if share is not None:
        targets.append(at_least("40 % MFU", 0.4, share))
    return [
        {
            "name": f"Molmo2 {size.preset}, {size.layers} of {size.shape.layers} layers, packs of {size.length} tokens",
            "unit": "useful tokens/s",
            "figures": figures,
            "targets": targets,
            "rows": sum(len(pack) for pack in packs),
            "fill": tokens / (len(packs) * size.length),
        }
    ]


def main(argv: list[str] | None = None) -> int:
    return run("gpu_vlm", __doc__, measure, argv, steps=10)


if __name__ == "__main__":
    sys.exit(main())
