"""A stand-in for TheWorld until its track is here: the stock Gemma 3, a projector of world latents, and the image VAE.

It has the shapes and the arithmetic of the model, not its training rules: random weights, one image per sample, tokens
in the order image, world, question, answer. Source: theworld spec sections 2 to 5.

Shapes: N samples of T tokens; M image tokens; W world tokens of k features; D model width; P latent positions a side.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

Mode = Literal["spatial", "channel"]
BEFORE, QUESTION, ANSWER = 2, 20, 34
"""Text tokens: before the image and after it, of the question, and of the answer, which alone is learned."""
SEED = 0


@dataclass(frozen=True, kw_only=True)
class Size:
    """Widths of the language model, the vision tower and the VAE."""

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn: int
    vocab: int
    window: int
    global_every: int
    vit_hidden: int
    vit_layers: int
    vit_heads: int
    vit_ffn: int
    image: int
    patch: int
    image_tokens: int
    vae_width: int
    world_image: int
    std: float = 0.02
    """Of random weights: with the usual one a narrow model hardly hears its world tokens."""

    @property
    def side(self) -> int:
        """P: the VAE halves an image three times."""
        return self.world_image // 8

    def world(self, mode: Mode) -> tuple[int, int]:
        """World tokens and features of each."""
        return (self.side**2, 16) if mode == "spatial" else (16, self.side**2)

    def length(self, mode: Mode) -> int:
        """T."""
        return BEFORE + self.image_tokens + 2 + self.world(mode)[0] + QUESTION + ANSWER


GEMMA3_4B = Size(
    hidden=2560, layers=34, heads=8, kv_heads=4, head_dim=256, ffn=10_240, vocab=262_208, window=1024, global_every=6,
    vit_hidden=1152, vit_layers=27, vit_heads=16, vit_ffn=4304, image=896, patch=14, image_tokens=256,
    vae_width=96, world_image=512,
)  # fmt: skip
TINY = Size(
    hidden=32, layers=2, heads=2, kv_heads=1, head_dim=16, ffn=64, vocab=300, window=16, global_every=2,
    vit_hidden=16, vit_layers=1, vit_heads=2, vit_ffn=32, image=32, patch=8, image_tokens=4,
    vae_width=4, world_image=16, std=0.2,
)  # fmt: skip


def gemma_of(size: Size, device: torch.device, dtype: torch.dtype) -> Any:
    """The stock class with random weights."""
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration

    every = size.global_every
    config = Gemma3Config(
        text_config={
            "hidden_size": size.hidden,
            "num_hidden_layers": size.layers,
            "num_attention_heads": size.heads,
            "num_key_value_heads": size.kv_heads,
            "head_dim": size.head_dim,
            "query_pre_attn_scalar": size.head_dim,
            "intermediate_size": size.ffn,
            "vocab_size": size.vocab,
            "initializer_range": size.std,
            "sliding_window": size.window,
            "layer_types": [
                "sliding_attention" if (number + 1) % every else "full_attention" for number in range(size.layers)
            ],
        },
        vision_config={
            "hidden_size": size.vit_hidden,
            "num_hidden_layers": size.vit_layers,
            "num_attention_heads": size.vit_heads,
            "intermediate_size": size.vit_ffn,
            "image_size": size.image,
            "patch_size": size.patch,
        },
        mm_tokens_per_image=size.image_tokens,
    )
    torch.manual_seed(SEED)
    with device:
        model = Gemma3ForConditionalGeneration._from_config(config, dtype=dtype)
    # The stock class starts this one at zero: pictures would not matter.
    torch.nn.init.normal_(model.model.multi_modal_projector.mm_input_projection_weight, std=0.02)
    return model


def vae_of(size: Size, device: torch.device) -> Any:
    """The VAE in fp32; only its encoder is used."""
    from diffusers import AutoencoderKLWan

    torch.manual_seed(SEED)
    with device:
        return AutoencoderKLWan(base_dim=size.vae_width).eval().requires_grad_(False)


def latents_of(vae: Any, images_N3SS: torch.Tensor) -> torch.Tensor:
    """Normalised latents [N, 16, P, P] of uint8 images: the mode of the distribution."""
    with torch.no_grad():
        found = vae.encode(images_N3SS.float()[:, :, None] / 127.5 - 1).latent_dist.mode()[:, :, 0]
        statistics = (torch.tensor(vae.config[name])[:, None, None] for name in ("latents_mean", "latents_std"))
        mean, std = (one.pin_memory() if found.is_cuda else one for one in statistics)
        return (found - mean.to(found.device, non_blocking=True)) / std.to(found.device, non_blocking=True)


class Projector(torch.nn.Module):
    """World tokens [N, W, D] of latents, with a start and an end: RMS-normed to the size of scaled text embeddings."""

    def __init__(self, size: Size, mode: Mode) -> None:
        super().__init__()
        self.mode: Mode = mode
        self.inner = torch.nn.Linear(size.world(mode)[1], size.hidden)
        self.outer = torch.nn.Linear(size.hidden, size.hidden)
        self.ends = torch.nn.Parameter(torch.randn(2, size.hidden))
        # DeepSpeed cannot send a parameter without dimensions from rank to rank.
        self.gain = torch.nn.Parameter(torch.ones(1))

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        features = latents.flatten(2)
        features = features.transpose(1, 2) if self.mode == "spatial" else features
        tokens = self.outer(F.gelu(self.inner(features.to(self.inner.weight.dtype))))
        tokens = self.gain * F.rms_norm(tokens.float(), tokens.shape[-1:], eps=1e-6)
        start, end = (one.expand(len(tokens), 1, -1) for one in self.ends[:, None])
        return torch.cat([start, tokens.to(start.dtype), end], dim=1)


class TheWorldStandIn(torch.nn.Module):
    """Gemma and the projector, as one module to train."""

    def __init__(self, gemma: Any, projector: Projector) -> None:
        super().__init__()
        self.gemma, self.projector = gemma, projector
        self.config = gemma.config
        self.supports_gradient_checkpointing = True

    def gradient_checkpointing_enable(self, **settings: Any) -> None:
        """Of the language model; the frozen vision tower keeps nothing anyway."""
        self.gemma.gradient_checkpointing_enable(**settings)


def component_of(parameter: str) -> str:
    return "world" if parameter.startswith("projector.") else "gemma"


@dataclass(frozen=True, kw_only=True)
class Samples:
    """Inputs of some samples, in host memory. Pictures are uint8; what a cache would hold is None if there is none.

    ids: [N, text tokens]. latents: fp16 [N, 16, P, P]. features: bf16 or fp32 [N, M, D], of the vision tower.
    """

    ids: NDArray[np.int64]
    image: NDArray[np.uint8]
    world_image: NDArray[np.uint8]
    latents: torch.Tensor | None = None
    features: torch.Tensor | None = None

    def part(self, rows: slice) -> Samples:
        cached = [one if one is None else one[rows] for one in (self.latents, self.features)]
        return Samples(
            ids=self.ids[rows],
            image=self.image[rows],
            world_image=self.world_image[rows],
            latents=cached[0],
            features=cached[1],
        )


def samples_of(size: Size, count: int) -> Samples:
    """Random text, and pictures of random squares: the VAE takes all fine noise for much the same."""
    source = np.random.default_rng(SEED)

    def pictures(side: int) -> NDArray[np.uint8]:
        squares = source.integers(0, 256, (count, 3, side // 16, side // 16), dtype=np.uint8)
        return squares.repeat(16, axis=2).repeat(16, axis=3)

    return Samples(
        ids=source.integers(0, size.vocab, (count, BEFORE + QUESTION + ANSWER), dtype=np.int64),
        image=pictures(size.image),
        world_image=pictures(size.world_image),
    )


def image_features(gemma: Any, images_N3SS: torch.Tensor) -> torch.Tensor:
    """Soft tokens [N, M, D] of uint8 images."""
    with torch.no_grad():
        pixels = (images_N3SS.float() / 127.5 - 1).to(gemma.dtype)
        found: torch.Tensor = gemma.model.get_image_features(pixels, return_dict=True).pooler_output
        return found


def embeddings_of(gemma: Any, ids: torch.Tensor, features_NMD: torch.Tensor, world_NWD: torch.Tensor) -> torch.Tensor:
    """Inputs [N, T, D] of the language model."""
    text = gemma.get_input_embeddings()(ids)
    dtype = text.dtype
    parts = [text[:, :1], features_NMD.to(dtype), text[:, 1:BEFORE], world_NWD.to(dtype), text[:, BEFORE:]]
    return torch.cat(parts, dim=1)
