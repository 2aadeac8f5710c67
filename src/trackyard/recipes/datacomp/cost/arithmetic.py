"""Steps, saves, rows, bytes and hours of the track as formulas, and what was published. Nothing here depends on a
machine.

Source: theworld spec sections 8, 10 and 16.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from trackyard.models.theworld.parameters import LatentShape

POOL = 12_800_000
"""Rows of the pool."""
BATCH, SAVE_EVERY, KEEP = 16, 500, 3
ACCEPTANCE = 0.60
"""a: share of rows that become samples, until it is measured."""
STEP_S = 3.0
"""t_step of the published plan: what hours are counted with until a device is named."""
POOL_IMAGE_BYTES, POOL_SIDE = 35_200, 512
"""Of a stored picture at a longest side of 512 pixels: the published size of the pool per row."""
ORIGINAL_BYTES = 200_000
"""Of a picture as it is delivered, at most, on average (150 to 200 kB)."""
STATE_BYTES = 12
"""Of a checkpoint, per trained parameter: fp32 weight and two moments."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Preset:
    """samples: N, accepted; epochs: E; warmup: steps."""

    samples: int
    epochs: int
    warmup: int

    @property
    def steps(self) -> int:
        return steps_of(self.samples, self.epochs)


PRESETS: Mapping[str, Preset] = {
    "smoke": Preset(samples=64, epochs=1, warmup=1),
    "10k": Preset(samples=10_000, epochs=5, warmup=100),
    "100k": Preset(samples=100_000, epochs=3, warmup=500),
    # If every row of the pool were alive.
    "full": Preset(samples=POOL, epochs=1, warmup=2_000),
    "full-alive": Preset(samples=round(POOL * ACCEPTANCE), epochs=1, warmup=2_000),
}


def steps_of(samples: int, epochs: int, batch: int = BATCH) -> int:
    """S = ceil(N E / B)."""
    return math.ceil(samples * epochs / batch)


def saves_of(steps: int, every: int = SAVE_EVERY) -> int:
    """Every so many steps, and at the end."""
    return math.ceil(steps / every)


def rows_of(samples: int, acceptance: float = ACCEPTANCE) -> int:
    """Rows to be asked for so many samples, of a pool that has them."""
    return math.ceil(samples / Fraction(str(acceptance)))


def image_bytes(max_side: int | None) -> int:
    """Of a stored picture, at most, on average: it grows with its area until nothing is scaled down."""
    if max_side is None:
        return ORIGINAL_BYTES
    return min(round(POOL_IMAGE_BYTES * (max_side / POOL_SIDE) ** 2), ORIGINAL_BYTES)


def latent_bytes(shape: LatentShape) -> int:
    """Of one picture, in fp16."""
    return 2 * math.prod(shape)


def cache_gain_s(samples: int, encode_s: float, *, epochs: int, further: int) -> float:
    """Seconds of encoding that cached latents save. further: runs and controls beside the first training."""
    return (epochs - 1 + further) * samples * encode_s


def whole_s(
    *, rows: float, rows_per_s: float, samples: int, encode_s: float, gpus: int, steps: int, step_s: float, saves: int,
    save_s: float,
) -> float:  # fmt: skip
    """T: download, encoding, steps and saves of one run, one after the other, in seconds."""
    return rows / rows_per_s + samples * encode_s / gpus + steps * step_s + saves * save_s


@dataclass(frozen=True, kw_only=True, slots=True)
class PublishedPlan:
    """The plan that was published, recomputed. Low and high where it gave a range."""

    save_every: int = 50
    save_minutes: tuple[float, float] = (5.0, 10.0)
    push_minutes: tuple[float, float] = (2.0, 3.0)
    push_bytes: int = 153_000_000
    bridge: int = 43_520
    """Parameters of its projector."""
    gemma_projector: int = 2_950_272
    never_in_graph: int = 73_296_659
    """Decoder of the VAE and its quantising layers."""
    stated_hours: tuple[float, float] = (48.0, 60.0)

    @property
    def trainable(self) -> int:
        """That were marked so."""
        return self.bridge + self.gemma_projector + self.never_in_graph

    @property
    def checkpoint_bytes(self) -> int:
        """In bf16, without any state of an optimiser."""
        return 2 * self.trainable

    @property
    def moment_bytes(self) -> tuple[int, int]:
        """Of AdamW, in bf16 and in fp32, which the checkpoints lacked."""
        return 4 * self.trainable, 8 * self.trainable

    def saves(self, steps: int) -> int:
        return saves_of(steps, self.save_every)

    def save_hours(self, steps: int) -> tuple[float, float]:
        return _hours(self.saves(steps), self.save_minutes)

    def push_hours(self, steps: int) -> tuple[float, float]:
        return _hours(self.saves(steps), self.push_minutes)

    def pushed_bytes(self, steps: int) -> int:
        return self.saves(steps) * self.push_bytes


PUBLISHED = PublishedPlan()


def step_hours(steps: int, step_s: float = STEP_S) -> float:
    return steps * step_s / 3600


def _hours(count: int, minutes: tuple[float, float]) -> tuple[float, float]:
    return count * minutes[0] / 60, count * minutes[1] / 60


def plan_lines(steps: int, trained: int, save_every: int = SAVE_EVERY, keep: int = KEEP) -> tuple[str, ...]:
    """So many steps at the planning time, beside the published plan and ours. trained: parameters."""
    plan = PUBLISHED
    saved, pushed = plan.save_hours(steps), plan.push_hours(steps)
    kept = keep * STATE_BYTES * trained + 4 * trained
    return (
        f"{steps:,} steps at {STEP_S:g} s, the planning value: {_span(step_hours(steps))}",
        f"published plan: a save every {plan.save_every} steps is {plan.saves(steps):,} saves, {saved[0]:,.4g} to "
        f"{saved[1]:,.4g} h on top; pushes {pushed[0]:,.4g} to {pushed[1]:,.4g} h and "
        f"{plan.pushed_bytes(steps) / 1e9:,.1f} GB",
        f"here: a save every {save_every} steps is {saves_of(steps, save_every):,} saves of "
        f"{STATE_BYTES * trained:,} bytes; the last {keep} and the export are {kept / 1e9:,.2f} GB; no push",
    )


def _span(hours: float) -> str:
    return f"{hours:,.1f} h" if hours < 72 else f"{hours:,.1f} h, {hours / 24:,.1f} days"
