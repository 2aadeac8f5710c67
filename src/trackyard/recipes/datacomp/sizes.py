"""Presets, token modes and sizes of the TheWorld track, as facts. Source: theworld spec sections 2, 4, 5, 6 and 10."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trackyard.errors import ConfigError
from trackyard.estimate.devices import Device
from trackyard.estimate.kept import encoder, frozen_decoder
from trackyard.estimate.workload import Attended, Part, Workload
from trackyard.train.flops import GEMMA3_4B, SIGLIP_896, Work, gemma3_projector_work
from trackyard.train.parameters import EngineParameters

WIDTH = 2560
"""d: width of the language model."""
VISION, LANGUAGE = 416_866_032 + 2_950_272, 3_880_263_168
"""Parameters of Gemma 3 4B: vision tower with its projector, language model with its tied head."""
BATCH, MICRO_BATCH = 16, 4
SAVE_EVERY, KEEP = 500, 3
MAX_LENGTH = 2048
TEXT_TOKENS = 312
"""Of a sample without its world tokens: 256 soft image tokens, markers, question, caption."""
ANSWER_TOKENS = 50
"""Of them, with a loss."""
PATCHES = 4096
"""Of an image of 896 x 896 pixels."""
IMAGE_S = 0.008
"""CPU seconds to decode and resize an image, and to read its latent."""

SAMPLES = {"smoke": (64, 1), "10k": (10_000, 5), "100k": (100_000, 3), "full": (12_800_000, 1)}
"""Accepted samples N and epochs E."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Mode:
    """How latents become tokens. tokens: N_w per image; features: k of each."""

    tokens: int
    features: int

    @property
    def projector(self) -> int:
        """Parameters of the two-layer projector."""
        return self.features * WIDTH + WIDTH + WIDTH**2 + WIDTH

    @property
    def trained(self) -> int:
        """With the two boundary vectors and the gain."""
        return self.projector + 2 * WIDTH + 1


MODES = {
    "pooled8": Mode(tokens=64, features=1024),
    "pooled4": Mode(tokens=256, features=256),
    "channel": Mode(tokens=16, features=4096),
    "spatial": Mode(tokens=4096, features=16),
    "stats": Mode(tokens=1, features=64),
}


def steps_of(samples: int, epochs: int) -> int:
    """S = ceil(N E / B)."""
    return math.ceil(samples * epochs / BATCH)


def workload(
    preset: str | None, device: Device, *, world: int | None = None, engine: Mapping[str, Any] | None = None
) -> Workload:
    """The `train` stage. preset: N as in `SAMPLES`, and a mode after a slash: "100k/channel".

    engine: what of the spec's settings is otherwise.

    Raises ConfigError for one that is not among ours, or whose sequences are longer than the language model's share.
    """
    name = preset or "100k"
    samples, _, kind = name.partition("/")
    kind = kind or next(iter(MODES))
    if samples not in SAMPLES or kind not in MODES:
        raise ConfigError(
            what=f"no preset {name!r} of datacomp",
            why=f"a preset is one of {', '.join(SAMPLES)}, with a mode after a slash: {', '.join(MODES)}",
            fix="trackyard estimate datacomp train --preset 100k/pooled8",
        )
    mode, ranks = MODES[kind], world or 1
    length = TEXT_TOKENS + mode.tokens + 2
    too_long = length > MAX_LENGTH
    settings = EngineParameters.model_validate(
        {
            "micro_batch": MICRO_BATCH,
            "activation_checkpointing": "full" if kind == "spatial" else "none",
            "keep_checkpoints": KEEP,
        }
        | dict(engine or {})
    )
    work: tuple[Work, ...] = tuple(
        gemma3_projector_work(
            lengths=[length] * BATCH,
            answers=ANSWER_TOKENS * BATCH,
            images=BATCH,
            world_tokens=mode.tokens * BATCH,
            projector=mode.features * WIDTH + WIDTH**2,
        )
    )
    return Workload(
        track="datacomp",
        stage="train",
        preset=f"{samples}/{kind}",
        lengths=f"{length:,} tokens a sample, {mode.tokens:,} of them of the world",
        parts=(
            Part(
                name="vision",
                parameters=VISION,
                gradient="none",
                layers=SIGLIP_896.layers,
                positions=PATCHES,
                kept=encoder(SIGLIP_896),
            ),
            Part(name="world projector", parameters=mode.trained, gradient="trained"),
            Part(
                name="language model",
                parameters=LANGUAGE,
                gradient="passes",
                layers=GEMMA3_4B.layers,
                positions=length,
                kept=frozen_decoder(GEMMA3_4B),
            ),
        ),
        attended=Attended(
            layers=GEMMA3_4B.layers,
            heads=GEMMA3_4B.heads,
            kv_heads=GEMMA3_4B.kv_heads,
            head_dim=GEMMA3_4B.head_dim,
            length=length,
        ),
        useful=work,
        computed=work,
        tokens=length * BATCH,
        packs_per_step=BATCH,
        steps=steps_of(*SAMPLES[samples]),
        save_every=SAVE_EVERY,
        vocab=GEMMA3_4B.vocab,
        logits=4 * ANSWER_TOKENS,
        pack_bytes=3 * 896**2 * 8 + mode.tokens * (mode.features + 3 * WIDTH) * 4,
        mask_bytes=length**2,
        batch_bytes=3 * 896**2 + 131_072,
        data_s=BATCH * IMAGE_S,
        engine=settings,
        world=ranks,
        autocast=True,
        pending="the training stage of this track is not there yet; the figures are those of its specification",
        notes=(f"{length:,} tokens are more than max_seq_length={MAX_LENGTH:,}: raise it for this mode",)
        if too_long
        else (),
    )
