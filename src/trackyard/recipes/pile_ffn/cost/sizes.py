"""Models, budgets and batches of the Pile-FFN track, as facts. Source: pile-ffn spec sections 2, 5, 6 and 13."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trackyard.errors import ConfigError
from trackyard.estimate.devices import Device
from trackyard.estimate.kept import decoder, encoder
from trackyard.estimate.workload import Attended, Part, Workload
from trackyard.recipes.pile_ffn.parameters import Family, ModelParameters, PileFfnParameters, TrainingParameters
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

    tied: the head is the table of embeddings. window: L; micro_batch on a device of 40 GB or more, and on smaller ones.
    """

    family: Family
    shape: Transformer
    tied: bool = False
    window: int = 2048
    micro_batch: int = 8
    micro_batch_small: int = 4

    @property
    def parameters(self) -> int:
        """P, shared ones once. `architectures.count` finds the same on the stock classes."""
        shape = self.shape
        norm = shape.hidden * (2 if self.family == "gpt_neox" else 1)
        layer = shape.weights // shape.layers + 2 * norm + _biases(self.family, shape)
        return (1 if self.tied else 2) * shape.head + shape.layers * layer + norm

    @property
    def ffn_parameters(self) -> int:
        """Those of the feed-forward layers, biases with them."""
        shape = self.shape
        matrices = (3 if shape.gated else 2) * shape.hidden * shape.ffn
        biases = shape.ffn + shape.hidden if self.family == "gpt_neox" else 0
        return shape.layers * (matrices + biases)


def _biases(family: Family, shape: Transformer) -> int:
    """Of one layer: of every matrix in GPT-NeoX, of queries, keys and values in Qwen2, none in Llama."""
    queries, keys = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    if family == "gpt_neox":
        return queries + 2 * keys + shape.hidden + shape.ffn + shape.hidden
    return queries + 2 * keys if family == "qwen2" else 0


_Cut = tuple[int, int, int]
"""Window, micro-batch, and micro-batch on a device of less than 40 GB."""
_EIGHTS, _FOURS, _PAIRS, _SINGLE = (2048, 8, 4), (2048, 4, 4), (1024, 2, 2), (1024, 1, 1)


def _neox(layers: int, hidden: int, heads: int, ffn: int, cut: _Cut, *, rows: int = 50_304) -> Size:
    """rows: of the table of embeddings, which larger models pad further."""
    return _size("gpt_neox", _shape(layers, hidden, heads, heads, ffn, rows, gated=False), cut)


def _size(family: Family, shape: Transformer, cut: _Cut, *, tied: bool = False) -> Size:
    window, large, small = cut
    return Size(family=family, shape=shape, tied=tied, window=window, micro_batch=large, micro_batch_small=small)


def _llama(layers: int, hidden: int, heads: int, kv_heads: int, ffn: int, cut: _Cut, *, tied: bool) -> Size:
    return _size("llama", _shape(layers, hidden, heads, kv_heads, ffn, 128_256, gated=True), cut, tied=tied)


def _qwen(layers: int, hidden: int, heads: int, kv_heads: int, ffn: int, cut: _Cut, *, tied: bool) -> Size:
    """The table of the larger ones, whose head is not tied to it, is padded further."""
    rows = 151_936 if tied else 152_064
    return _size("qwen2", _shape(layers, hidden, heads, kv_heads, ffn, rows, gated=True), cut, tied=tied)


def _shape(layers: int, hidden: int, heads: int, kv_heads: int, ffn: int, rows: int, *, gated: bool) -> Transformer:
    return Transformer(
        layers=layers,
        hidden=hidden,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=hidden // heads,
        ffn=ffn,
        gated=gated,
        vocab=rows,
    )


SIZES = {
    "pythia-70m": _neox(6, 512, 8, 2_048, _EIGHTS),
    "pythia-160m": _neox(12, 768, 12, 3_072, _EIGHTS),
    "pythia-410m": _neox(24, 1_024, 16, 4_096, _EIGHTS),
    "pythia-1b": _neox(16, 2_048, 8, 8_192, _EIGHTS),
    "pythia-1.4b": _neox(24, 2_048, 16, 8_192, _EIGHTS),
    "pythia-2.8b": _neox(32, 2_560, 32, 10_240, _PAIRS),
    "pythia-6.9b": _neox(32, 4_096, 32, 16_384, _SINGLE, rows=50_432),
    "pythia-12b": _neox(36, 5_120, 40, 20_480, _SINGLE, rows=50_688),
    "llama-3.2-1b": _llama(16, 2_048, 32, 8, 8_192, _FOURS, tied=True),
    "llama-3.2-3b": _llama(28, 3_072, 24, 8, 8_192, _PAIRS, tied=True),
    "llama-3.1-8b": _llama(32, 4_096, 32, 8, 14_336, _SINGLE, tied=False),
    "qwen2.5-0.5b": _qwen(24, 896, 14, 2, 4_864, _FOURS, tied=True),
    "qwen2.5-1.5b": _qwen(28, 1_536, 12, 2, 8_960, _FOURS, tied=True),
    "qwen2.5-3b": _qwen(36, 2_048, 16, 2, 11_008, _PAIRS, tied=True),
    "qwen2.5-7b": _qwen(28, 3_584, 28, 4, 18_944, _SINGLE, tied=False),
    "qwen2.5-14b": _qwen(48, 5_120, 40, 8, 13_824, _SINGLE, tied=False),
}
"""Steps of sizes that section 6 does not list are those of the nearest one that it does."""


def size_of(model: ModelParameters) -> Size:
    """The size of a study's model; ConfigError for one of the hub without a known size."""
    if model.made is None:
        return _named(model.size, fix="name the model's size as pile_ffn.model.size in the parameter file")
    made = model.made
    shape = _shape(
        made.layers, made.hidden, made.heads, made.heads, made.ffn, made.vocabulary, gated=made.family != "gpt_neox"
    )
    return Size(family=made.family, shape=shape)


def workload(
    preset: str | None,
    device: Device,
    *,
    world: int | None = None,
    engine: Mapping[str, Any] | None = None,
    tokens_per_step: int = TOKENS_PER_STEP,
) -> Workload:
    """The `train` stage of one arm of a size under the `matched` budget. engine: what of the spec's settings is
    otherwise.

    Raises ConfigError for a size that is not among ours.
    """
    name = DEFAULT if preset is None else preset
    size = _named(name, fix="trackyard estimate pile_ffn train --preset pythia-1.4b")
    ranks = world or 1
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
    training = TrainingParameters(
        steps=FULL_STEPS,
        window=size.window,
        windows_per_step=tokens_per_step // size.window,
        learning_rates={},
        save_every=SAVE_EVERY,
    )
    return _trained(name, size, training, settings, device, ranks)


def study_workload(parameters: PileFfnParameters, device: Device, *, world: int | None = None) -> Workload:
    """The `train` stage of one arm of a study. ConfigError for a model without a known size."""
    name = parameters.model.size or parameters.model.id
    ranks = world or parameters.processes
    return _trained(name, size_of(parameters.model), parameters.training, parameters.engine, device, ranks)


def _named(name: str | None, *, fix: str) -> Size:
    if name not in SIZES:
        raise ConfigError(what=f"no size {name!r} of pile_ffn", why=f"sizes are {', '.join(SIZES)}", fix=fix)
    return SIZES[name]


def _trained(
    name: str, size: Size, training: TrainingParameters, settings: EngineParameters, device: Device, ranks: int
) -> Workload:
    shape, window, windows = size.shape, training.window, training.windows_per_step
    tokens = windows * window
    work: tuple[Work, ...] = tuple(
        decoder_work(shape, tokens=tokens, answers=tokens, pairs=causal_pairs([window]) * windows, gradient="trained")
    )
    return Workload(
        track="pile_ffn",
        stage="train",
        preset=name,
        lengths=f"windows of {window:,} tokens without padding",
        parts=(
            Part(
                name="language model",
                parameters=size.parameters,
                gradient="trained",
                layers=shape.layers,
                positions=window,
                kept=decoder(shape, head_norms=False) if shape.gated else encoder(shape),
            ),
        ),
        attended=Attended(
            layers=shape.layers,
            heads=shape.heads,
            kv_heads=shape.kv_heads,
            head_dim=shape.head_dim,
            length=window,
        ),
        useful=work,
        computed=work,
        tokens=tokens,
        packs_per_step=windows,
        steps=training.steps,
        save_every=training.save_every,
        vocab=shape.vocab,
        logits=window,
        pack_bytes=2 * window * shape.hidden * 2,
        mask_bytes=0,
        batch_bytes=window * 24,
        data_s=tokens * TOKEN_S,
        engine=settings,
        world=ranks,
        autocast=settings.precision == "fp32" and not device.is_cpu,
        notes=("one arm and one seed; `trackyard estimate pile_ffn study` is of all of them",),
    )
