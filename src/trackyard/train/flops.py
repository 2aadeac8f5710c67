"""Floating-point operations of a training step, and the share of a GPU's peak that they used. Imports no torch.

The convention: a product of matrices counts 2 FLOP per weight and token forward, 2 more where a gradient passes through
it, and 2 more where its weights are trained. Attention counts 4 FLOP per allowed pair of query and key, head width and
layer forward, and 12 where a gradient passes. What activation checkpointing computes again is not counted.
Source: performance spec section 4.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Literal

from trackyard.models.presets import Preset

Gradient = Literal["trained", "passes", "none"]
"""Of a part of the model: its weights are trained; frozen, a gradient passes on; frozen, nothing before it trains."""

PER_WEIGHT: dict[Gradient, int] = {"trained": 6, "passes": 4, "none": 2}
"""FLOP per weight and token."""
PER_PAIR: dict[Gradient, int] = {"trained": 12, "passes": 12, "none": 4}
"""FLOP per pair, layer and unit of heads x head width."""

CONVENTION = "causal once, no recompute, bf16 peak"
"""The words that stand beside every MFU."""
PEAKS = {"H200": 989e12, "H100": 989e12, "A100": 312e12}
"""Nominal dense bf16 FLOP/s by a word of the device's name."""
_OTHER_CHIPS = ("PCIE", "NVL")
"""An H100 with one of these in its name is a smaller chip, whose peak is not among ours."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Attention:
    """Attention of like layers. width: heads x head width. pairs: (query, key) pairs that the mask allows, per step."""

    layers: int
    width: int
    pairs: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """What a part of the model computes in one step, on all GPUs together.

    weights: in products of matrices, per token (no input embedding). tokens: without padding.
    """

    name: str
    weights: int
    tokens: float
    gradient: Gradient = "trained"
    attention: tuple[Attention, ...] = ()

    @property
    def flops(self) -> float:
        """FLOP of this part."""
        pairs = sum(part.layers * part.width * part.pairs for part in self.attention)
        return PER_WEIGHT[self.gradient] * self.weights * self.tokens + PER_PAIR[self.gradient] * pairs


def step_flops(parts: Iterable[Work]) -> float:
    """F_step."""
    return sum(part.flops for part in parts)


def causal_pairs(lengths: Iterable[float], window: float | None = None) -> float:
    """A_pairs of causal sequences, S^2 / 2 each; under a sliding window, at most `window` keys per query."""
    return sum(
        length**2 / 2 if window is None or length <= window else window**2 / 2 + (length - window) * window
        for length in lengths
    )


def peak(device: str) -> float | None:
    """Nominal dense bf16 FLOP/s of a device by its name ("NVIDIA H200"); None for one whose peak is not known here."""
    name = device.upper()
    if any(word in name for word in _OTHER_CHIPS) and "H100" in name:
        return None
    return next((value for word, value in PEAKS.items() if word in name), None)


def mfu(flops: float, *, seconds: float, gpus: int, device: str) -> float | None:
    """Model FLOP utilisation 0..1 of a step of `flops`; None without a known peak: no share of an unknown."""
    known = peak(device)
    return None if known is None else flops / (seconds * gpus * known)


def mfu_words(device: str) -> str:
    """What stands beside the number, or in its place."""
    known = peak(device)
    if known is None:
        return f"no MFU: the bf16 peak of {device!r} is not known (known: {', '.join(sorted(PEAKS))})"
    return f"{CONVENTION} {known / 1e12:.0f} TFLOP/s"


@dataclass(frozen=True, kw_only=True, slots=True)
class Transformer:
    """Widths of a stack of layers. gated: three matrices in the feed-forward part instead of two."""

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn: int
    gated: bool
    vocab: int = 0

    @property
    def weights(self) -> int:
        """Weights in the matrix products of all layers; the head is not among them."""
        attention = self.hidden * self.head_dim * (2 * self.heads + 2 * self.kv_heads)
        return self.layers * (attention + (3 if self.gated else 2) * self.hidden * self.ffn)

    @property
    def head(self) -> int:
        """Weights of the head, which counts where it is applied."""
        return self.hidden * self.vocab

    def attention(self, pairs: float, layers: int | None = None) -> Attention:
        """The attention of `layers` of them (all) over so many pairs per step."""
        return Attention(
            layers=self.layers if layers is None else layers, width=self.heads * self.head_dim, pairs=pairs
        )


PYTHIA_1_4B = Transformer(
    layers=24, hidden=2048, heads=16, kv_heads=16, head_dim=128, ffn=8192, gated=False, vocab=50_304
)
"""GPT-NeoX of 1.4 G parameters; its table has 50,304 rows."""
GEMMA3_4B = Transformer(
    layers=34, hidden=2560, heads=8, kv_heads=4, head_dim=256, ffn=10_240, gated=True, vocab=262_208
)
"""The language model of Gemma 3 4B: every sixth layer is global, the others see a window. Source: theworld spec 2."""
GEMMA3_GLOBAL_LAYERS, GEMMA3_WINDOW = 5, 1024
SIGLIP_896 = Transformer(layers=27, hidden=1152, heads=16, kv_heads=16, head_dim=72, ffn=4304, gated=False)
"""The vision tower of Gemma 3: 4,096 patches of 14 x 14 pixels per image."""
_PATCH = 14 * 14 * 3
_GEMMA_IMAGE_TOKENS = 256


def decoder_work(shape: Transformer, *, tokens: float, answers: float, pairs: float, gradient: Gradient) -> list[Work]:
    """A language model: `tokens` through its layers, its head at `answers` of them."""
    return [
        Work(name="llm", weights=shape.weights, tokens=tokens, gradient=gradient, attention=(shape.attention(pairs),)),
        Work(name="head", weights=shape.head, tokens=answers, gradient=gradient),
    ]


def gpt_neox_work(shape: Transformer, *, tokens: float, pairs: float) -> list[Work]:
    """A GPT-NeoX that is trained whole, with a loss at every token."""
    return decoder_work(shape, tokens=tokens, answers=tokens, pairs=pairs, gradient="trained")


def molmo2_shapes(preset: Preset) -> tuple[Transformer, Transformer]:
    """Widths of the vision tower and of the language model."""
    vit = Transformer(
        layers=preset.vit_layers,
        hidden=preset.vit_hidden,
        heads=preset.vit_heads,
        kv_heads=preset.vit_heads,
        head_dim=preset.vit_hidden // preset.vit_heads,
        ffn=preset.vit_ffn,
        gated=False,
    )
    llm = Transformer(
        layers=preset.layers,
        hidden=preset.hidden_size,
        heads=preset.heads,
        kv_heads=preset.kv_heads,
        head_dim=preset.head_dim,
        ffn=preset.ffn,
        gated=True,
        vocab=preset.vocab_size,
    )
    return vit, llm


def molmo2_work(
    preset: Preset,
    *,
    tokens: float,
    answers: float,
    pairs: float,
    crops: float,
    pooled: float,
    window: int,
    trained: Collection[str] = ("vit", "connector", "llm"),
    patches: int = 729,
) -> list[Work]:
    """Molmo2: the vision tower over `crops` of `patches`, `pooled` features of `window` patches each, the decoder.

    trained: names of the trained components. The vision tower's own layers see whole crops, both ways.
    """
    vit, llm = molmo2_shapes(preset)
    width = preset.vit_hidden
    read = width * len(preset.vit_feature_layers)
    states = _gradients(("vit", "connector", "llm"), trained)
    per_pooled = read * width + width**2 + 2 * width * preset.ffn + preset.ffn * preset.hidden_size
    return [
        Work(
            name="vit",
            weights=vit.weights + _PATCH * width,
            tokens=crops * patches,
            gradient=states["vit"],
            attention=(vit.attention(crops * patches**2),),
        ),
        Work(
            name="connector keys and values",
            weights=2 * read * width,
            tokens=pooled * window,
            gradient=states["connector"],
        ),
        Work(
            name="connector",
            weights=per_pooled,
            tokens=pooled,
            gradient=states["connector"],
            attention=(Attention(layers=1, width=width, pairs=pooled * window),),
        ),
        *decoder_work(llm, tokens=tokens, answers=answers, pairs=pairs, gradient=states["llm"]),
    ]


def _gradients(order: Iterable[str], trained: Collection[str]) -> dict[str, Gradient]:
    """State of each component, in the order in which data pass through them."""
    states: dict[str, Gradient] = {}
    before = False
    for name in order:
        states[name] = "trained" if name in trained else "passes" if before else "none"
        before = before or name in trained
    return states


def gemma3_projector_work(
    *,
    lengths: Iterable[float],
    answers: float,
    images: float,
    world_tokens: float,
    projector: int,
    shape: Transformer = GEMMA3_4B,
    tower: Transformer = SIGLIP_896,
    global_layers: int = GEMMA3_GLOBAL_LAYERS,
    window: int = GEMMA3_WINDOW,
    patches: int = 4096,
) -> list[Work]:
    """A frozen Gemma 3 behind a trained projector of world tokens: gradients pass through the decoder to it.

    lengths: tokens of each sequence. images: seen by the vision tower (0 where its features are cached). projector:
    weights in its matrix products. The tower has nothing trainable before it. The world encoder is not counted.
    """
    sequences = list(lengths)
    frozen_projector = tower.hidden * shape.hidden
    attention = (
        shape.attention(causal_pairs(sequences), global_layers),
        shape.attention(causal_pairs(sequences, window), shape.layers - global_layers),
    )
    return [
        Work(
            name="vision tower",
            weights=tower.weights + _PATCH * tower.hidden,
            tokens=images * patches,
            gradient="none",
            attention=(tower.attention(images * patches**2),),
        ),
        Work(name="image projector", weights=frozen_projector, tokens=images * _GEMMA_IMAGE_TOKENS, gradient="none"),
        Work(name="world projector", weights=projector, tokens=world_tokens, gradient="trained"),
        Work(name="llm", weights=shape.weights, tokens=sum(sequences), gradient="passes", attention=attention),
        Work(name="head", weights=shape.head, tokens=answers, gradient="passes"),
    ]
