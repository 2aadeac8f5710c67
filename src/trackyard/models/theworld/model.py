"""TheWorld as one module to train: a stock Gemma 3, and what is trained of it and in front of it.

Only trained tensors are registered: DeepSpeed, checkpoints and audits see those and nothing else, and a frozen part
cannot be marked trainable by accident. Gemma is called as it is; the rows of reserved ids are overwritten in its input
embeddings, so that vocabulary, tokenizer and cache lengths stay what they are.

Shapes: N rows of L tokens; I images of M soft tokens; N_w world tokens; D width; A learned tokens; V vocabulary.
Source: theworld spec sections 5 and 6.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import nullcontext
from typing import Any, Literal, Self

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.attention.flex_attention import BlockMask

from trackyard.errors import ConfigError
from trackyard.feed.tree import PADDING_EXAMPLE
from trackyard.feed.visibility import NOT_VISUAL, Visibility
from trackyard.feed.world_prompts import PromptLayout
from trackyard.models.attention import attention_mask, dense_mask, mask_kind, packed_length, use_masks
from trackyard.models.sending import sent
from trackyard.models.text_packs import Answers
from trackyard.models.theworld.batch import WorldBatch
from trackyard.models.theworld.branch import SoftPrompt, WorldBranch, between

Component = Literal["world", "gemma_vision", "gemma_language"]
WORLD: Component = "world"
_THAWED = "thawed."


class TheWorld(nn.Module):
    """Gemma with world tokens. Without a branch it is stock Gemma, to the bit."""

    supports_gradient_checkpointing = True
    world: WorldBranch | SoftPrompt | None

    def __init__(
        self,
        gemma: Any,
        branch: WorldBranch | SoftPrompt | None,
        layout: PromptLayout,
        thaw: Collection[str] = (),
    ) -> None:
        """gemma: Gemma3ForConditionalGeneration; its weights are frozen here, but for the parts named in `thaw`, which
        become fp32. layout: of the builder of prompts. ConfigError where the three do not belong together.
        """
        super().__init__()
        _require_fitting(gemma, branch, layout)
        gemma.requires_grad_(False)
        # A tuple is not looked into: nothing of it is registered.
        self._held = (gemma,)
        self.world = branch
        self.layout = layout
        parts = thawable(gemma)
        self.thawed = nn.ModuleDict({name: parts[name] for name in sorted(thaw)})
        self.thawed.float().requires_grad_(True)
        self.images_read = 0
        """Latents that the branch has been given so far: the audit of an evaluation counts them."""
        if (device := gemma.device).type != "meta":
            use_masks(gemma, mask_kind(device))

    @property
    def gemma(self) -> Any:
        """The stock model."""
        return self._held[0]

    @property
    def config(self) -> Any:
        """Of the stock model."""
        return self.gemma.config

    @property
    def head(self) -> nn.Module:
        """Hidden states [A, D] to logits [A, V]."""
        head: nn.Module = self.gemma.lm_head
        return head

    @staticmethod
    def component_of(name: str) -> Component:
        """Of a trained tensor, by its name here."""
        if name.startswith("world."):
            return WORLD
        return "gemma_vision" if name.startswith(f"{_THAWED}gemma_vision.") else "gemma_language"

    @staticmethod
    def decays(name: str) -> bool:
        """Whether weight decay applies: to matrices of the projector only."""
        return name.startswith("world.projector.") and name.endswith(".weight")

    def to_device(self, device: torch.device) -> Self:
        """Everything, Gemma too, with the attention that this device wants."""
        self.gemma.to(device)
        use_masks(self.gemma, mask_kind(device))
        return self.to(device)

    def train(self, mode: bool = True) -> Self:
        """Gemma follows: its layers compute activations again only while they train. It has no dropout."""
        self.gemma.train(mode)
        return super().train(mode)

    def gradient_checkpointing_enable(self, **settings: Any) -> None:
        """Of Gemma, through whose activations the gradient of the branch comes."""
        self.gemma.gradient_checkpointing_enable(**settings)

    def hidden(self, batch: WorldBatch, device: torch.device) -> Answers:
        """What the head and the loss need of a packed micro-batch: hidden states where something is learned."""
        hidden_TD = self.hidden_states(batch, device).flatten(0, 1)
        return Answers(
            hidden_AD=hidden_TD.index_select(0, sent(batch.supervised, device)),
            targets_A=sent(batch.targets, device),
            weights_A=sent(batch.weights, device),
            tokens=batch.input_ids.size,
        )

    def hidden_states(self, batch: WorldBatch, device: torch.device) -> torch.Tensor:
        """Hidden states [N, L, D] of all tokens, before the head."""
        length = batch.input_ids.shape[1]
        fill = packed_length(self.gemma, length, None) - length
        embeddings_NLD = F.pad(self.embeddings(batch, device), (0, 0, 0, fill))
        visibility = batch.visibility()
        if fill:
            visibility = _filled(visibility, fill)
        positions_NL = F.pad(sent(batch.positions, device), (0, fill))
        return self.language(embeddings_NLD, positions_NL, self.masks(visibility, device))[:, :length]

    def embeddings(self, batch: WorldBatch, device: torch.device) -> torch.Tensor:
        """Inputs [N, L, D] of the language model, each reserved row overwritten by what it stands for."""
        shape = batch.input_ids.shape
        text_TD = self.gemma.get_input_embeddings()(sent(batch.input_ids.reshape(-1), device))
        soft_IMD = self._soft_tokens(batch, device)
        world_IWD = self._world_tokens(batch, device)
        if self.world is not None and world_IWD is not None:
            if self.world.adds:
                soft_IMD = soft_IMD.float() + world_IWD
            else:
                blocks_TD = between(self.world.boundaries, world_IWD).flatten(0, 1).to(text_TD.dtype)
                text_TD = text_TD.index_copy(0, sent(batch.block_places, device), blocks_TD)
        text_TD = text_TD.index_copy(0, sent(batch.image_places, device), soft_IMD.to(text_TD.dtype).flatten(0, 1))
        embeddings_NLD: torch.Tensor = text_TD.reshape(*shape, -1)
        return embeddings_NLD

    def masks(self, visibility: Visibility, device: torch.device, *, dense: bool = False) -> Mapping[str, Any]:
        """For each kind of layer; in the form of the device's attention, or as tensors [N, 1, L, L]."""
        window = self.config.get_text_config().sliding_window
        near: torch.Tensor | BlockMask
        whole: torch.Tensor | BlockMask
        if dense:
            whole, near = dense_mask(visibility, device), dense_mask(visibility, device, window)
        else:
            whole = attention_mask(self.gemma, visibility, device)
            near = attention_mask(self.gemma, visibility, device, window=window)
        return {"full_attention": whole, "sliding_attention": near}

    def language(
        self, embeddings_NLD: torch.Tensor, positions_NL: torch.Tensor, masks: Mapping[str, Any], cache: Any = None
    ) -> torch.Tensor:
        """Gemma's language model as it is; cache: of transformers, and these tokens are added to it."""
        hidden_NLD: torch.Tensor = self.gemma.model.language_model(
            inputs_embeds=embeddings_NLD,
            position_ids=positions_NL,
            attention_mask=dict(masks),
            past_key_values=cache,
            use_cache=cache is not None,
        ).last_hidden_state
        return hidden_NLD

    def _soft_tokens(self, batch: WorldBatch, device: torch.device) -> torch.Tensor:
        """Of Gemma's own vision tower [I, M, D]."""
        frozen = "gemma_vision" not in self.thawed
        pixels_I3SS = sent(batch.pixel_values, device).to(next(self.gemma.model.vision_tower.parameters()).dtype)
        with torch.no_grad() if frozen else nullcontext():
            soft_IMD: torch.Tensor = self.gemma.model.get_image_features(pixels_I3SS, return_dict=True).pooler_output
        if soft_IMD.shape[:2].numel() != len(batch.image_places):
            raise _mismatch(f"{soft_IMD.shape[:2].numel()} soft tokens", f"{len(batch.image_places)} places for them")
        return soft_IMD

    def _world_tokens(self, batch: WorldBatch, device: torch.device) -> torch.Tensor | None:
        """[I, N_w, D] in fp32, None with the world off."""
        if self.world is None:
            if len(batch.block_places):
                raise _mismatch("the world off", f"{len(batch.block_places)} places for world tokens")
            return None
        if batch.latents is None or len(batch.latents) != batch.images:
            raise _mismatch(f"{0 if batch.latents is None else len(batch.latents)} latents", f"{batch.images} images")
        self.images_read += batch.images
        world_IWD: torch.Tensor = self.world(sent(batch.latents, device))
        places = 0 if self.world.adds else (world_IWD.shape[1] + 2) * len(world_IWD)
        if places != len(batch.block_places):
            raise _mismatch(f"{places} world tokens", f"{len(batch.block_places)} places for them")
        return world_IWD


def thawable(gemma: Any) -> dict[str, nn.Module]:
    """Parts of Gemma that may be trained: the vision tower with its projector, the language model with its tied head.

    Parameters of the head are those of the table of embeddings.
    """
    vision = nn.ModuleDict({"tower": gemma.model.vision_tower, "projector": gemma.model.multi_modal_projector})
    return {"gemma_vision": vision, "gemma_language": gemma.model.language_model}


def _filled(visibility: Visibility, fill: int) -> Visibility:
    """With `fill` tokens at the end that see and teach nothing."""
    return Visibility(
        levels=F.pad(torch.from_numpy(visibility.levels), (0, fill), value=PADDING_EXAMPLE).numpy(),
        spans=F.pad(torch.from_numpy(visibility.spans), (0, fill), value=NOT_VISUAL).numpy(),
    )


def _require_fitting(gemma: Any, branch: WorldBranch | SoftPrompt | None, layout: PromptLayout) -> None:
    rows = len(gemma.get_input_embeddings().weight)
    if layout.rows > rows:
        raise _mismatch(f"reserved ids up to {layout.rows - 1}", f"a table of embeddings with {rows} rows")
    if (layout.image_id, layout.image_tokens) != (gemma.config.image_token_id, gemma.config.mm_tokens_per_image):
        raise _mismatch(
            f"prompts with {layout.image_tokens} soft tokens of id {layout.image_id} an image",
            f"a model with {gemma.config.mm_tokens_per_image} of id {gemma.config.image_token_id}",
        )
    inserted = 0 if branch is None or branch.adds else branch.tokens
    if layout.world_tokens != inserted:
        raise _mismatch(f"prompts with {layout.world_tokens} world tokens an image", f"a branch that gives {inserted}")
    if branch is not None and branch.adds and branch.tokens != layout.image_tokens:
        raise _mismatch(f"{branch.tokens} world tokens to add", f"{layout.image_tokens} soft tokens an image")


def _mismatch(one: str, other: str) -> ConfigError:
    return ConfigError(
        what=f"{one}, but {other}",
        why="tokens would stand for something else than what is put in their place",
        fix="build prompts, branch and model from the same parameters (datacomp.world and datacomp.gemma)",
    )
