"""The base models in numbers, and how long their samples are. Torch is not imported.

Source: theworld spec sections 2, 4 and 5.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trackyard.errors import ConfigError
from trackyard.models.theworld.parameters import LatentShape, WorldParameters, added_tokens, inserted_tokens
from trackyard.models.theworld.window import WindowReport, visible_tokens
from trackyard.train.flops import GEMMA3_4B, GEMMA3_GLOBAL_LAYERS, GEMMA3_WINDOW, SIGLIP_896, Transformer

if TYPE_CHECKING:
    # Every estimate of any track imports this module, and the parameters bring the downloader with them.
    from trackyard.recipes.datacomp.parameters import GemmaParameters, MadeGemmaParameters, VaeParameters

PUBLISHED_SHAPE: LatentShape = (16, 64, 64)
"""Latents of 512 x 512 pixels."""
CHANNELS, STRIDE = 16, 8
"""Of the image VAE: pixels per latent position."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Base:
    """A Gemma 3. vision, language: parameters, the tower with its projector, the language model with its tied head.

    soft_tokens: per image. text: tokens of a sample beside them, markers, question and caption; answer: of them with a
    loss; after: places from the last world token to the last of the prompt.
    """

    shape: Transformer
    tower: Transformer
    vision: int
    language: int
    global_layers: int
    window: int
    image_size: int
    patches: int
    soft_tokens: int
    text: int
    answer: int
    after: int


GEMMA = Base(
    shape=GEMMA3_4B,
    tower=SIGLIP_896,
    vision=416_866_032 + 2_950_272,
    language=3_880_263_168,
    global_layers=GEMMA3_GLOBAL_LAYERS,
    window=GEMMA3_WINDOW,
    image_size=896,
    patches=4096,
    soft_tokens=256,
    text=56,
    answer=50,
    after=61,
)
KNOWN: Mapping[str, Base] = {"google/gemma-3-4b-it": GEMMA}
MADE_ROWS = 64
"""Of a made model's table, beyond its vocabulary."""
VAE_PARAMETERS = {"all": 126_892_531, "encoder": 53_596_928}
"""Of the published VAE; encoder: with quant_conv, all that encoding loads."""


def base_of(gemma: GemmaParameters) -> Base:
    """ConfigError for a model of the hub whose size is not known here."""
    if gemma.made is not None:
        return _made(gemma.made)
    if gemma.id not in KNOWN:
        raise ConfigError(
            what=f"the size of {gemma.id} is not known",
            why=f"memory and time are predicted of {', '.join(KNOWN)}, and of a made model",
            fix=f"set datacomp.gemma.id to one of them, or add its widths to `KNOWN` in {__name__}",
        )
    return KNOWN[gemma.id]


def _made(made: MadeGemmaParameters) -> Base:
    """A tower as wide as its language model; texts of the scenes are short."""
    rows = made.vocabulary + MADE_ROWS
    shape = Transformer(
        layers=made.layers,
        hidden=made.hidden,
        heads=made.heads,
        kv_heads=made.heads,
        head_dim=made.hidden // made.heads,
        ffn=made.ffn,
        gated=True,
        vocab=rows,
    )
    tower = Transformer(
        layers=1,
        hidden=made.hidden,
        heads=made.heads,
        kv_heads=made.heads,
        head_dim=made.hidden // made.heads,
        ffn=made.ffn,
        gated=False,
    )
    return Base(
        shape=shape,
        tower=tower,
        vision=tower.weights + made.hidden**2,
        language=shape.weights + shape.head,
        global_layers=made.layers // 2,
        window=made.window,
        image_size=made.image_size,
        patches=(made.image_size // made.patch) ** 2,
        soft_tokens=made.soft_tokens,
        text=64,
        answer=16,
        after=24,
    )


def latent_shape(vae: VaeParameters) -> LatentShape:
    """Of one picture."""
    side = vae.pixels // STRIDE
    return CHANNELS, side, side


def sample_length(base: Base, world: WorldParameters, shape: LatentShape) -> int:
    """L: tokens of a sample with all its image and world tokens."""
    return base.soft_tokens + base.text + added_tokens(world, shape)


def visible(base: Base, world: WorldParameters, shape: LatentShape) -> WindowReport:
    """What the last token of a prompt sees of its world tokens through a window."""
    tokens = inserted_tokens(world, shape)
    # Before the text, the whole image lies between them.
    distance = base.after + (base.soft_tokens if world.placement == "before_text" else 0)
    return WindowReport(
        visible=visible_tokens(tokens, distance, base.window),
        tokens=tokens,
        distance=distance,
        window=base.window,
        local=base.shape.layers - base.global_layers,
        layers=base.shape.layers,
    )


def require_length(world: WorldParameters, base: Base, shape: LatentShape) -> None:
    """ConfigError where samples of a usual length are longer than is allowed."""
    length = sample_length(base, world, shape)
    if length > world.max_length:
        raise ConfigError(
            what=f"mode {world.mode}: samples of {length:,} tokens, world.max_length={world.max_length:,}",
            why="every sample would be refused: none is cut inside its image or its world tokens",
            fix=f"set datacomp.world.max_length to {length + base.answer} or more, or choose another mode",
        )
