"""Parameters of the small model that the mini profile trains. Torch is not imported."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from trackyard.feed.geometry import VisionGeometry
from trackyard.parameters import Parameters


class MadeModelParameters(Parameters):
    """A Molmo2 with routed experts: its widths, and how it is trained on the rows of the fixture.

    Every step shows all its pictures with one number of crops, sends each token to one number of experts, and leaves
    out some decoder blocks, so that the knobs of the sweep make the model worse and do not break it.
    """

    layers: int = Field(default=6, ge=2)
    hidden: int = Field(default=64, gt=0)
    heads: int = Field(default=4, gt=0)
    kv_heads: int = Field(default=2, gt=0)
    experts: int = Field(default=6, ge=2)
    per_token: int = Field(default=4, ge=1)
    """Experts that a token is sent to where nothing else is asked for."""
    expert_width: int = Field(default=32, gt=0)
    vit_hidden: int = Field(default=64, gt=0)
    vit_layers: int = Field(default=2, ge=2)
    vit_heads: int = Field(default=4, gt=0)
    vit_ffn: int = Field(default=192, gt=0)
    vocabulary: int = Field(default=640, ge=320)
    """Rows of the language model's head; the added tokens come behind them."""
    max_positions: int = Field(default=1024, gt=0)
    """Longest sequence, prompt and answer."""
    geometry: VisionGeometry = VisionGeometry(
        crop_size=64, patch_size=8, margin=(1, 1), image_pooling=2, video_pooling=3, max_crops=6
    )
    crops: tuple[int, ...] = Field(default=(1, 2, 3, 4, 6), min_length=1)
    """Numbers of high-resolution crops that are trained with, one of them in each step."""
    early: float = Field(default=0.4, ge=0, le=1)
    """Share of the steps, the first ones, with the fewest crops of all pictures: cheap lessons about shapes."""
    shares: dict[str, float] = Field(default={})
    """How often rows of a style are drawn, as a multiple of those that are not named."""
    routes: tuple[int, ...] = Field(default=(2, 4, 4, 6), min_length=1)
    """Experts per token that are trained with, one of them in each step."""
    skipped: tuple[int, ...] = Field(default=(0, 0, 1, 2, 3), min_length=1)
    """Decoder blocks that are left out, one of these numbers in each step; never the first and the last."""
    rows: int = Field(default=2700, ge=1)
    """Training rows of the fixture."""
    steps: int = Field(default=600, ge=0)
    rows_per_step: int = Field(default=8, ge=1)
    learning_rate: float = Field(default=3e-3, gt=0)
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for name, width, heads in (
            ("hidden", self.hidden, self.heads),
            ("vit_hidden", self.vit_hidden, self.vit_heads),
        ):
            if width % heads or width // heads % 2:
                raise ValueError(f"{name}={width} is not an even number for each of {heads} heads")
        if self.heads % self.kv_heads:
            raise ValueError(f"heads={self.heads} is not a multiple of kv_heads={self.kv_heads}")
        if not all(1 <= k <= self.experts for k in (self.per_token, *self.routes)):
            raise ValueError(f"per_token={self.per_token}, routes={self.routes}: 1 to experts={self.experts}")
        if not all(1 <= crops <= self.geometry.max_crops for crops in self.crops):
            raise ValueError(f"crops={self.crops}: 1 to geometry.max_crops={self.geometry.max_crops}")
        if not all(share > 0 for share in self.shares.values()):
            raise ValueError(f"shares={self.shares}: above 0; rows that are not to be drawn are not to be given")
        if not all(0 <= number <= self.layers - 2 for number in self.skipped):
            raise ValueError(f"skipped={self.skipped}: 0 to {self.layers - 2}, the first and the last block always run")
        return self
