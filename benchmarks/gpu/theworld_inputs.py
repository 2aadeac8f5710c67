"""What G2 is measured on: Gemma 3 4B and the image VAE with random weights, random pictures and text of fixed lengths.

One image per sample, tokens in the order image, world, question, answer, as trackyard's builder places them; ids are
drawn, because no tokenizer is at hand without the hub. Source: theworld spec sections 2 to 5.

Shapes: N samples of T tokens; M image tokens; W world tokens; D model width; P latent positions a side; S pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from trackyard.feed.world_prompts import PromptLayout, WorldPrompt
from trackyard.models.theworld.batch import WorldSample
from trackyard.models.theworld.parameters import LatentShape, WorldParameters, tokens_of

Mode = Literal["spatial", "channel"]
BEFORE, QUESTION, ANSWER = 2, 20, 34
"""Text tokens: before the image and after it, of the question, and of the answer, which alone is learned."""
BOUNDARIES = 2
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

    @property
    def latent(self) -> LatentShape:
        return 16, self.side, self.side

    def world(self, mode: Mode) -> WorldParameters:
        return WorldParameters(mode=mode, max_length=8192)

    def world_tokens(self, mode: Mode) -> int:
        """W."""
        return tokens_of(mode, self.latent)[0]

    def length(self, mode: Mode) -> int:
        """T."""
        return BEFORE + self.image_tokens + BOUNDARIES + self.world_tokens(mode) + QUESTION + ANSWER

    @property
    def words(self) -> int:
        """Ids that text is drawn from; those above stand for something."""
        return self.vocab - 16

    @property
    def markers(self) -> tuple[int, int]:
        """Begin and end of an image."""
        return self.words, self.words + 1

    def layout(self, mode: Mode) -> PromptLayout:
        first = self.words + 2
        return PromptLayout(
            image_tokens=self.image_tokens,
            world_tokens=self.world_tokens(mode),
            image_id=first,
            start_id=first + 1,
            end_id=first + 2,
            world_id=first + 3,
            pad_id=0,
            stop_ids=(0,),
        )


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
        boi_token_index=size.markers[0],
        eoi_token_index=size.markers[1],
        image_token_index=size.layout("channel").image_id,
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


@dataclass(frozen=True, kw_only=True)
class Samples:
    """Inputs of some samples, in host memory. Pictures are uint8.

    ids: [N, text tokens]. latents: fp16 [N, 16, P, P], what the cache holds of `world_image`.
    """

    ids: NDArray[np.int64]
    image: NDArray[np.uint8]
    world_image: NDArray[np.uint8]
    latents: NDArray[np.float16]

    def part(self, rows: slice) -> Samples:
        return Samples(
            ids=self.ids[rows],
            image=self.image[rows],
            world_image=self.world_image[rows],
            latents=self.latents[rows],
        )


def samples_of(size: Size, count: int, vae: Any, device: torch.device) -> Samples:
    """Random text, and pictures of random squares: the VAE takes all fine noise for much the same."""
    source = np.random.default_rng(SEED)

    def pictures(side: int) -> NDArray[np.uint8]:
        squares = source.integers(0, 256, (count, 3, side // 16, side // 16), dtype=np.uint8)
        return squares.repeat(16, axis=2).repeat(16, axis=3)

    image, world = pictures(size.image), pictures(size.world_image)
    latents = [latents_of(vae, torch.from_numpy(one[None]).to(device)).half().cpu().numpy() for one in world]
    return Samples(
        ids=source.integers(1, size.words, (count, BEFORE + QUESTION + ANSWER), dtype=np.int64),
        image=image,
        world_image=world,
        latents=np.concatenate(latents),
    )


def prepared(size: Size, mode: Mode, samples: Samples) -> list[WorldSample]:
    """The samples as trackyard's feed hands them on: token ids with their places, pixels in [-1, 1], cached latents."""
    layout = size.layout(mode)
    block = np.array([layout.start_id, *[layout.world_id] * layout.world_tokens, layout.end_id])
    image = np.full(size.image_tokens, layout.image_id)
    found = []
    for number, text in enumerate(samples.ids):
        ids = np.concatenate([text[:1], image, text[1:BEFORE], block, text[BEFORE:]])
        labels = np.full(len(ids), -100)
        labels[-ANSWER:] = ids[-ANSWER:]
        world = 1 + size.image_tokens + BEFORE - 1 + 1
        prompt = WorldPrompt(
            input_ids=ids,
            token_type_ids=(ids == layout.image_id).astype(np.int64),
            labels=labels,
            image_spans=((1, 1 + size.image_tokens),),
            world_spans=((world, world + layout.world_tokens),),
            prompt_len=len(ids) - ANSWER,
        )
        pixels = samples.image[number : number + 1].astype(np.float32) / 127.5 - 1
        found.append(WorldSample(prompt, pixels, samples.latents[number : number + 1]))
    return found
