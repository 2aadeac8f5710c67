"""The trained part of TheWorld: world tokens of latents, at the scale of the model's own text embeddings.

Shapes: N images; C x h x w a latent; N_w world tokens of k features; d width of the language model.
Source: theworld spec sections 4, 5 and 12.4.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from trackyard.errors import ConfigError
from trackyard.models.theworld.parameters import BOUNDARIES, LatentShape, WorldParameters, tokens_of
from trackyard.models.theworld.projector import features_of, projector_of

EPS = 1e-6
VECTOR_STD = 0.01
"""Of the vectors of a soft prompt before they are normed; much smaller ones would drown in EPS."""
_ASKED = (
    "Where is {}?", "What is next to {}?", "How many people stand behind {}?", "Which side of the picture shows {}?",
    "Describe {} in one sentence.", "Is {} closer to the camera than the wall?", "What colour is {}?", "Count {}.",
)  # fmt: skip
_THINGS = (
    "the red chair", "a small dog", "the tallest building", "the cup on the table", "an open window",
    "the bicycle in front", "the woman with a hat", "two wooden boxes",
)  # fmt: skip
PROMPTS = tuple(asked.format(thing) for asked in _ASKED for thing in _THINGS)
"""The 64 texts whose embeddings say how large a token of this model is."""


@torch.no_grad()
def r_text(gemma: Any, tokenizer: Any) -> float:
    """RMS of the scaled embeddings of `PROMPTS`."""
    ids = [number for text in PROMPTS for number in tokenizer(text, add_special_tokens=False)["input_ids"]]
    table = gemma.get_input_embeddings()
    embeddings_TD = table(torch.tensor(ids, device=table.weight.device)).float()
    return float(embeddings_TD.square().mean().sqrt())


def image_markers(gemma: Any) -> torch.Tensor:
    """Scaled embeddings [2, d] of Gemma's begin and end of an image, in fp32: what boundaries start from."""
    table = gemma.get_input_embeddings()
    ids = torch.tensor([gemma.config.boi_token_index, gemma.config.eoi_token_index], device=table.weight.device)
    markers_2D: torch.Tensor = table(ids).detach().float()
    return markers_2D


def between(boundaries_2D: torch.Tensor, world_NWD: torch.Tensor) -> torch.Tensor:
    """Blocks [N, N_w + 2, d]: start, world tokens, end."""
    start_N1D, end_N1D = (one.expand(len(world_NWD), 1, -1) for one in boundaries_2D[:, None])
    return torch.cat([start_N1D, world_NWD, end_N1D], dim=1)


class WorldBranch(nn.Module):
    """Latents to tokens: gamma * RMSNorm(P(z)), or alpha * r_text * RMSNorm(P(z)) where they are added.

    Parameters, and nothing else in its state: projector; boundaries [2, d] and gamma [1], or alpha [1].
    """

    def __init__(self, parameters: WorldParameters, latent_shape: LatentShape, width: int, r_text: float) -> None:
        """With weights of torch's usual kind, boundaries of zeros and a gain of `r_text`; see `initial`."""
        super().__init__()
        self.mode, self.latent_shape, self.r_text = parameters.mode, latent_shape, r_text
        self.tokens, features = tokens_of(parameters.mode, latent_shape)
        self.adds = parameters.fusion == "add"
        self.projector = projector_of(parameters.projector, features, width)
        # DeepSpeed cannot send a parameter without dimensions from rank to rank.
        if self.adds:
            self.alpha = nn.Parameter(torch.zeros(1))
        else:
            self.boundaries = nn.Parameter(torch.zeros(BOUNDARIES, width))
            self.gamma = nn.Parameter(torch.full((1,), r_text))

    @classmethod
    def initial(
        cls, parameters: WorldParameters, latent_shape: LatentShape, gemma: Any, r_text: float, seed: int
    ) -> WorldBranch:
        """As training starts: the projector drawn from `seed`, boundaries as Gemma marks an image, on its device."""
        markers_2D = image_markers(gemma)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            branch = cls(parameters, latent_shape, markers_2D.shape[1], r_text)
        if not branch.adds:
            with torch.no_grad():
                branch.boundaries.copy_(markers_2D)
        return branch.to(markers_2D.device)

    def forward(self, latents_NChw: torch.Tensor) -> torch.Tensor:
        """World tokens [N, N_w, d] in fp32 of normalised latents in any floating type."""
        if tuple(latents_NChw.shape[1:]) != self.latent_shape:
            raise ConfigError(
                what=f"latents of shape {tuple(latents_NChw.shape[1:])} for a projector of {self.latent_shape}",
                why="rearranged they would be other features than those that were trained on",
                fix="encode the images with the VAE of the export: `dvc repro latents` in pipelines/datacomp",
            )
        # DeepSpeed in bf16 holds rounded weights, with fp32 masters behind them.
        features_NWk = features_of(self.mode, latents_NChw.to(next(self.projector.parameters()).dtype))
        projected_NWD = self.projector(features_NWk).float()
        normed_NWD = F.rms_norm(projected_NWD, projected_NWD.shape[-1:], eps=EPS)
        return (self.alpha * self.r_text if self.adds else self.gamma) * normed_NWD


class SoftPrompt(nn.Module):
    """The control: r_text * RMSNorm(v) with as many free vectors v as there are world tokens, whatever the picture.

    They stand where the projector's output stands. Vectors at the size of tokens would hardly move: a step at rate 1e-4
    turns these by 1e-4 / VECTOR_STD, a hundredth. Boundaries are Gemma's image markers and not trained: `vectors`
    [N_w, d] is all there is in its state.
    """

    adds = False
    boundaries: torch.Tensor

    def __init__(self, tokens: int, markers_2D: torch.Tensor, r_text: float) -> None:
        super().__init__()
        self.tokens, self.r_text = tokens, r_text
        self.vectors = nn.Parameter(torch.zeros(tokens, markers_2D.shape[1]))
        self.register_buffer("boundaries", markers_2D.clone(), persistent=False)

    @classmethod
    def initial(
        cls, parameters: WorldParameters, latent_shape: LatentShape, gemma: Any, r_text: float, seed: int
    ) -> SoftPrompt:
        """Vectors drawn from `seed`. ConfigError where tokens are added to the image's own."""
        if parameters.fusion == "add":
            raise ConfigError(
                what="the run soft_prompt with world.fusion=add",
                why="free vectors take the place of inserted tokens, and nothing is inserted",
                fix="set datacomp.world.fusion to insert, or take soft_prompt out of datacomp.runs in params.yaml",
            )
        prompt = cls(tokens_of(parameters.mode, latent_shape)[0], image_markers(gemma), r_text)
        drawn_WD = torch.randn(prompt.vectors.shape, generator=torch.Generator().manual_seed(seed))
        with torch.no_grad():
            prompt.vectors.copy_(VECTOR_STD * drawn_WD)
        return prompt.to(prompt.boundaries.device)

    def forward(self, latents_NChw: torch.Tensor) -> torch.Tensor:
        """The tokens [N, N_w, d] in fp32, once for each latent."""
        vectors_WD = self.vectors.float()
        tokens_WD = self.r_text * F.rms_norm(vectors_WD, vectors_WD.shape[-1:], eps=EPS)
        return tokens_WD.expand(len(latents_NChw), -1, -1)
