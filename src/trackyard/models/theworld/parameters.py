"""How latents become tokens of the language model, and how many weights that trains. Torch is not imported.

Source: theworld spec sections 4 and 5.
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from trackyard.errors import ConfigError
from trackyard.parameters import Parameters

Mode = Literal["spatial", "channel", "pooled4", "pooled8", "stats"]
ProjectorKind = Literal["linear", "mlp", "mlp_gelu_out"]
Fusion = Literal["insert", "add"]
Placement = Literal["after_image", "before_text"]
Block = Literal["causal", "bidirectional"]
LatentShape = tuple[int, int, int]
"""Channels C, rows h, columns w."""

POOLED: dict[Mode, int] = {"spatial": 1, "pooled4": 4, "pooled8": 8}
"""Side of the square of latent positions that makes one token."""
STATISTICS = 4
"""Of each channel in `stats`: mean, standard deviation, smallest, largest."""
BOUNDARIES = 2
"""Start and end of a block of world tokens."""


class WorldParameters(Parameters):
    """The second view. mode: what makes a token; projector: from its k features to the model's width.

    fusion: tokens of their own in the sequence, or added to the image's soft tokens through a gate that starts at 0.
    """

    mode: Mode = "pooled8"
    projector: ProjectorKind = "mlp"
    fusion: Fusion = "insert"
    placement: Placement = "after_image"
    """Where a block is inserted: behind its image, or all of them behind <bos>."""
    block: Block = "causal"
    """Whether tokens of a block see only those before them, or each other."""
    max_length: int = Field(default=2048, ge=8)
    """Tokens of a sample with all its image and world tokens."""
    allow_invisible_world: bool = False
    """Go on where layers with a window see no world token from the end of the prompt."""

    @model_validator(mode="after")
    def _grids_coincide(self) -> Self:
        if self.fusion == "add" and self.mode != "pooled4":
            raise ValueError(f"fusion=add with mode={self.mode}: only pooled4 has the grid of the image's soft tokens")
        return self


def tokens_of(mode: Mode, latent_shape: LatentShape) -> tuple[int, int]:
    """World tokens N_w of one image, and features k of each. ConfigError where squares do not tile the latent."""
    channels, rows, columns = latent_shape
    if mode == "channel":
        return channels, rows * columns
    if mode == "stats":
        return 1, STATISTICS * channels
    side = POOLED[mode]
    if rows % side or columns % side:
        raise ConfigError(
            what=f"mode {mode} for latents of {rows} x {columns} positions",
            why=f"squares of {side} x {side} do not tile them, and what is left over would be lost",
            fix="choose another datacomp.world.mode in params.yaml, or another size of the world encoder's input",
        )
    return (rows // side) * (columns // side), channels * side**2


def inserted_tokens(parameters: WorldParameters, latent_shape: LatentShape) -> int:
    """Tokens of a block between its boundaries; 0 where they are added to the image's own."""
    return 0 if parameters.fusion == "add" else tokens_of(parameters.mode, latent_shape)[0]


def added_tokens(parameters: WorldParameters, latent_shape: LatentShape) -> int:
    """By how much one image makes a sequence longer."""
    inserted = inserted_tokens(parameters, latent_shape)
    return inserted + BOUNDARIES if inserted else 0


def expected_trainable(
    parameters: WorldParameters, latent_shape: LatentShape, width: int, *, soft_prompt: bool = False
) -> dict[str, int]:
    """Elements of every trained tensor by its name in `TheWorld`, nothing thawed. width: d of the language model.

    soft_prompt: the control with free vectors in the place of the tokens. The sum is the table of spec section 4.
    """
    tokens, features = tokens_of(parameters.mode, latent_shape)
    if soft_prompt:
        return {"world.vectors": tokens * width}
    found = {"world.projector.0.weight": features * width, "world.projector.0.bias": width}
    if parameters.projector != "linear":
        found |= {"world.projector.2.weight": width**2, "world.projector.2.bias": width}
    if parameters.fusion == "add":
        return found | {"world.alpha": 1}
    return found | {"world.boundaries": BOUNDARIES * width, "world.gamma": 1}


def total_trainable(
    parameters: WorldParameters, latent_shape: LatentShape, width: int, *, soft_prompt: bool = False
) -> int:
    """Trained parameters altogether, nothing thawed."""
    return sum(expected_trainable(parameters, latent_shape, width, soft_prompt=soft_prompt).values())
