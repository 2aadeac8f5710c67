"""Models, budgets and batches of the Pile-FFN track, as facts. Source: pile-ffn spec sections 2, 5, 6 and 13."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trackyard.errors import ConfigError
from trackyard.estimate.devices import Device
from trackyard.estimate.kept import decoder, encoder
from trackyard.estimate.workload import Attended, Part, Workload
from trackyard.train.flops import Transformer, Work, causal_pairs, decoder_work
from trackyard.train.parameters import EngineParameters

DEFAULT = "pythia-1.4b"
TOKENS_PER_STEP = 65_536
FULL_STEPS = 10_000
SAVE_EVERY, KEEP = 500, 3
LARGE_MEMORY = 39 * 2**30
"""From here on a device counts as one of 40 GB."""
TOKEN_S = 1e-8
"""CPU seconds to read a token of a shard."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Size:
    """A language model and how a step of it is cut up.

    parameters: P; window: L; micro_batch on a device of 40 GB or more, and on smaller ones.
    """

    shape: Transformer
    parameters: int
    window: int
    micro_batch: int
    micro_batch_small: int


def _neox(layers: int, hidden: int, heads: int, ffn: int) -> Transformer:
    return Transformer(
        layers=layers,
        hidden=hidden,
        heads=heads,
        kv_heads=heads,
        head_dim=hidden // heads,
        ffn=ffn,
        gated=False,
        vocab=50_304,
    )


def _llama(layers: int, hidden: int, heads: int, kv_heads: int, ffn: int, vocab: int = 128_256) -> Transformer:
    return Transformer(
        layers=layers,
        hidden=hidden,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=hidden // heads,
        ffn=ffn,
        gated=True,
        vocab=vocab,
    )


def _size(shape: Transformer, parameters: int, window: int, micro_batch: int, small: int | None = None) -> Size:
    return Size(
        shape=shape,
        parameters=parameters,
        window=window,
        micro_batch=micro_batch,
        micro_batch_small=micro_batch if small is None else small,
    )


SIZES = {
    "pythia-160m": _size(_neox(12, 768, 12, 3_072), 162_322_944, 2048, 8, 4),
    "pythia-1.4b": _size(_neox(24, 2_048, 16, 8_192), 1_414_647_808, 2048, 8, 4),
    "pythia-2.8b": _size(_neox(32, 2_560, 32, 10_240), 2_775_208_960, 1024, 2),
    "pythia-6.9b": _size(_neox(32, 4_096, 32, 16_384), 6_857_302_016, 1024, 1),
    "llama-3.2-1b": _size(_llama(16, 2_048, 32, 8, 8_192), 1_235_814_400, 2048, 4),
    "llama-3.2-3b": _size(_llama(28, 3_072, 24, 8, 8_192), 3_212_749_824, 1024, 2),
    "llama-3.1-8b": _size(_llama(32, 4_096, 32, 8, 14_336), 8_030_261_248, 1024, 1),
    "qwen2.5-1.5b": _size(_llama(28, 1_536, 12, 2, 8_960, 151_936), 1_543_714_304, 2048, 4),
    "qwen2.5-7b": _size(_llama(28, 3_584, 28, 4, 18_944, 152_064), 7_615_616_512, 1024, 1),
}


def workload(
    preset: str | None,
    device: Device,
    *,
    world: int | None = None,
    engine: Mapping[str, Any] | None = None,
    tokens_per_step: int = TOKENS_PER_STEP,
) -> Workload:
    """The `train` stage of one arm under the `matched` budget. engine: what of the spec's settings is otherwise.

    Raises ConfigError for a size that is not among ours.
    """
    name = DEFAULT if preset is None else preset
    if name not in SIZES:
        raise ConfigError(
            what=f"no size {name!r} of pile_ffn",
            why=f"sizes are {', '.join(SIZES)}",
            fix="trackyard estimate pile_ffn train --preset pythia-1.4b",
        )
    size, ranks = SIZES[name], world or 1
    shape = size.shape
    windows = tokens_per_step // size.window
    large = device.memory_bytes is not None and device.memory_bytes >= LARGE_MEMORY
    settings = EngineParameters.model_validate(
        {
            "micro_batch": size.micro_batch if large else size.micro_batch_small,
            "zero_stage": 0 if ranks == 1 else 1,
            "activation_checkpointing": "full",
            "keep_checkpoints": KEEP,
        }
        | dict(engine or {})
    )
    pairs = causal_pairs([size.window]) * windows
    work: tuple[Work, ...] = tuple(
        decoder_work(shape, tokens=tokens_per_step, answers=tokens_per_step, pairs=pairs, gradient="trained")
    )
    return Workload(
        track="pile_ffn",
        stage="train",
        preset=name,
        lengths=f"windows of {size.window:,} tokens without padding",
        parts=(
            Part(
                name="language model",
                parameters=size.parameters,
                gradient="trained",
                layers=shape.layers,
                positions=size.window,
                kept=decoder(shape, head_norms=False) if shape.gated else encoder(shape),
            ),
        ),
        attended=Attended(
            layers=shape.layers,
            heads=shape.heads,
            kv_heads=shape.kv_heads,
            head_dim=shape.head_dim,
            length=size.window,
        ),
        useful=work,
        computed=work,
        tokens=tokens_per_step,
        packs_per_step=windows,
        steps=FULL_STEPS,
        save_every=SAVE_EVERY,
        vocab=shape.vocab,
        logits=size.window,
        pack_bytes=2 * size.window * shape.hidden * 2,
        mask_bytes=0,
        batch_bytes=size.window * 24,
        data_s=tokens_per_step * TOKEN_S,
        engine=settings,
        world=ranks,
        autocast=settings.precision == "fp32",
        pending="the training stage of this track is not there yet; the figures are those of its specification",
        notes=("one arm and one seed; the default study has 18 trained cells",),
    )
