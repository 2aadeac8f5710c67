"""Trained runs, arms of the evaluation, and their cells by name. Source: theworld spec section 12.4."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from trackyard.errors import ConfigError

Run = Literal["world", "soft_prompt"]
"""What is trained: the projector of latents, or as many free vectors in the place of its tokens."""
Branch = Literal["off", "on", "zeros", "shuffled"]
"""What an arm gives the world branch: nothing, the image's latent, zeros, or the latent of another image."""
ALL = "all"
"""In the header of a result that is about all arms."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Arm:
    """A way to evaluate. run: whose trained weights are loaded, None where nothing is; branch: what it sees.

    drawn: weights as they are drawn before training, one for each seed.
    """

    name: str
    run: Run | None
    branch: Branch
    drawn: bool = False

    @property
    def seeded(self) -> bool:
        return self.run is not None or self.drawn


ARMS: Mapping[str, Arm] = {
    arm.name: arm
    for arm in (
        Arm(name="base_gemma", run=None, branch="off"),
        Arm(name="world", run="world", branch="on"),
        Arm(name="random_projection", run=None, branch="on", drawn=True),
        Arm(name="zero_latents", run="world", branch="zeros"),
        Arm(name="shuffled_latents", run="world", branch="shuffled"),
        Arm(name="no_world_tokens", run="world", branch="off"),
        Arm(name="soft_prompt", run="soft_prompt", branch="on"),
    )
}
BASE, WORLD, NO_WORLD = "base_gemma", "world", "no_world_tokens"
SOFT_PROMPT: Run = "soft_prompt"
CONTROLS = ("random_projection", "zero_latents", "shuffled_latents", NO_WORLD, "soft_prompt")
"""What the trained run is compared with besides the base model."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """A trained run, or an arm, at a seed; the base model has none."""

    name: str
    """Of the run or arm."""
    seed: int | None

    @property
    def label(self) -> str:
        """As people and dvc.yaml call it."""
        return self.name if self.seed is None else f"{self.name}-{self.seed}"

    @property
    def path(self) -> str:
        """Below the folder of a stage."""
        return self.name if self.seed is None else f"{self.name}/{self.seed}"


def arm_named(name: str) -> Arm:
    """ConfigError for a name that is no arm."""
    if name not in ARMS:
        raise ConfigError(
            what=f"no arm {name!r}",
            why=f"arms are {', '.join(ARMS)}",
            fix="correct datacomp.arms in params.yaml",
        )
    return ARMS[name]
