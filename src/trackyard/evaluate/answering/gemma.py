"""Gemma 3 as a subject: its chat template with pictures expanded, and its own image processor.

The visual level is the number of crops that pan and scan adds to an oblong picture, at most; 0 shows the whole alone.
Source: the stock processor of transformers, which needs its tokenizer's names for control tokens; theworld spec 5.

Shapes: I pictures of 3 x S x S, M soft tokens each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image

from trackyard.errors import ConfigError
from trackyard.evaluate.answering.prompt import Ints, Prompt, only_images, plain_text, worded
from trackyard.evaluate.answering.subject import Subject, places
from trackyard.evaluate.tasks.question import Question
from trackyard.evaluate.tasks.task import Task
from trackyard.feed.images import load_image
from trackyard.feed.visibility import NOT_VISUAL, Visibility
from trackyard.feed.world_prompts import END_OF_IMAGE, SOFT_TOKEN, START_OF_IMAGE, runs_of
from trackyard.models.attention import dense_mask
from trackyard.models.sending import sent
from trackyard.row import Media

SMALLEST_CROP = 256
OBLONG = 1.2
"""Pixels of a crop's side, and ratio of sides, at least: the stock processor's, where the folder's are null."""


class Gemma3Subject(Subject):
    """transformers' Gemma3ForConditionalGeneration. processor: its `Gemma3ImageProcessorPil`."""

    levels_matter = True
    default_level = 0

    def __init__(
        self, model: Any, tokenizer: Any, processor: Any, *, name: str, digest: str, eos: frozenset[int], pad: int
    ) -> None:
        super().__init__(model, tokenizer, name=name, digest=digest, eos=eos, pad=pad)
        self._processor = processor
        self._soft_tokens: int = model.config.mm_tokens_per_image
        self._window: int = model.config.get_text_config().sliding_window
        self._image_id: int = model.config.image_token_id

    def prompt(self, question: Question, task: Task, *, visual: int | None = None) -> Prompt:
        """Pictures first, in their order, then the words."""
        only_images(question, self.name)
        crops = [self._crops(medium, visual or 0) for medium in question.media]
        text = plain_text(self.tokenizer, worded(question, task.instruction), question)
        content = [*({"type": "image"} for _ in crops), {"type": "text", "text": text}]
        turns = [{"role": "user", "content": content}]
        rendered: str = self.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        parts = rendered.split(START_OF_IMAGE)
        if len(parts) != len(crops) + 1:
            raise ConfigError(
                what=f"the chat template of {self.name} writes {len(parts) - 1} images for {len(crops)}",
                why="pictures would stand for nothing, or for each other",
                fix="use the chat template of Gemma 3, which writes <start_of_image> for each image",
            )
        shown = [_shown(len(pixels)) for pixels in crops]
        whole = parts[0] + "".join(one + part for one, part in zip(shown, parts[1:], strict=True))
        bare: Ints = np.array(self.tokenizer(whole, add_special_tokens=False)["input_ids"], dtype=np.int64)
        ids = np.repeat(bare, np.where(bare == self._image_id, self._soft_tokens, 1))
        is_soft = ids == self._image_id
        blocks = np.full(len(ids), NOT_VISUAL, dtype=np.int64)
        for number, (start, stop) in enumerate(runs_of(is_soft)):
            blocks[start:stop] = number
        self._require(int(is_soft.sum()), sum(len(pixels) for pixels in crops))
        return Prompt(
            # The soft token may have no row in the table of embeddings; what is read there is overwritten.
            ids=np.where(is_soft, self.pad, ids),
            visual=is_soft,
            blocks=blocks,
            media=np.concatenate(crops) if crops else None,
            visual_tokens=int(is_soft.sum()),
        )

    @torch.inference_mode()
    def embeddings(self, prompts: Sequence[Prompt]) -> torch.Tensor:
        """Soft tokens replace what stands in their places."""
        ids = self._padded_ids(prompts)
        text_TD = self.model.get_input_embeddings()(sent(ids.reshape(-1), self.device))
        pixels = [prompt.media for prompt in prompts if prompt.media is not None]
        if pixels:
            pixels_I3SS = sent(np.concatenate(pixels) if len(pixels) > 1 else pixels[0], self.device)
            dtype = next(self.model.model.vision_tower.parameters()).dtype
            soft_IMD = self.model.get_image_features(pixels_I3SS.to(dtype), return_dict=True).pooler_output
            text_TD = text_TD.index_copy(
                0, sent(places(prompts), self.device), soft_IMD.to(text_TD.dtype).flatten(0, 1)
            )
        found: torch.Tensor = text_TD.reshape(*ids.shape, -1)
        return found

    def _whole_masks(self, visibility: Visibility) -> dict[str, torch.Tensor]:
        return {
            "full_attention": dense_mask(visibility, self.device),
            "sliding_attention": dense_mask(visibility, self.device, self._window),
        }

    def _step_masks(self, mask: torch.Tensor) -> dict[str, torch.Tensor]:
        length = mask.shape[1]
        near = torch.arange(length, device=mask.device) > length - 1 - self._window
        return {"full_attention": mask[:, None, None], "sliding_attention": (mask & near)[:, None, None]}

    def _crops(self, medium: Media, level: int) -> Any:
        """float32 [1 + crops, 3, S, S]: the whole picture, then what pan and scan cuts out of it."""
        found = self._processor(
            Image.fromarray(load_image(medium.data, medium.path)),
            do_pan_and_scan=level > 0,
            pan_and_scan_max_num_crops=level,
            pan_and_scan_min_crop_size=self._processor.pan_and_scan_min_crop_size or SMALLEST_CROP,
            pan_and_scan_min_ratio_to_activate=self._processor.pan_and_scan_min_ratio_to_activate or OBLONG,
            return_tensors="np",
        )
        return found["pixel_values"].astype(np.float32)

    def _require(self, soft: int, pictures: int) -> None:
        if soft != pictures * self._soft_tokens:
            raise ConfigError(
                what=f"{soft} soft tokens for {pictures} pictures of {self._soft_tokens} in {self.name}",
                why="pictures would be put in the place of other tokens than their own",
                fix="use the tokenizer that belongs to this Gemma 3",
            )


def _shown(pictures: int) -> str:
    """What stands for an image and its crops: the words of the stock processor, one soft token for a picture."""
    mark = f"\n\n{START_OF_IMAGE}{SOFT_TOKEN}{END_OF_IMAGE}\n\n"
    if pictures == 1:
        return mark
    crops = " ".join([mark] * (pictures - 1))
    return f"Here is the original image {mark} and here are some crops to help you see better {crops}"
