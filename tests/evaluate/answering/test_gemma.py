"""Gemma 3 as a subject: prompts, pictures and crops of the stock processor."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import Gemma3Processor, PreTrainedTokenizerFast

from tests.evaluate.answering.families import TASK, SmallProcessor, clip, gemma, question
from tests.feed.gemma_tokenizer import TEMPLATE, gemma_tokenizer
from tests.models.theworld.tiny import SOFT
from trackyard.errors import ConfigError, DataError
from trackyard.evaluate.answering.gemma import Gemma3Subject
from trackyard.evaluate.tasks.question import Question
from trackyard.feed.images import load_image


def stock_processor() -> Any:
    own = gemma_tokenizer()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=own.backend_tokenizer,
        pad_token="<pad>",
        eos_token="<eos>",
        bos_token="<bos>",
        extra_special_tokens={
            "boi_token": "<start_of_image>", "eoi_token": "<end_of_image>", "image_token": "<image_soft_token>",
        },
    )  # fmt: skip
    return Gemma3Processor(SmallProcessor.of(), tokenizer, image_seq_length=SOFT, chat_template=TEMPLATE)


@pytest.mark.parametrize("level", [0, 2, 3])
@pytest.mark.parametrize("sizes", [((40, 30),), ((90, 30), (30, 30), (20, 64))])
def test_prompts_are_those_of_the_stock_processor(level: int, sizes: tuple[tuple[int, int], ...]) -> None:
    asked = question(3, *sizes)
    found = gemma().prompt(asked, TASK, visual=level)
    turns = [
        {"role": "user", "content": [*({"type": "image"} for _ in sizes), {"type": "text", "text": "What is here?"}]}
    ]
    text = gemma_tokenizer().apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    wanted = stock_processor()(
        images=[[Image.fromarray(load_image(medium.data, medium.path)) for medium in asked.media]],
        text=[text],
        add_special_tokens=False,
        do_pan_and_scan=level > 0,
        pan_and_scan_max_num_crops=level,
        pan_and_scan_min_crop_size=8,
        return_tensors="np",
    )
    image = gemma().model.config.image_token_id
    assert np.where(found.visual, image, found.ids).tolist() == wanted["input_ids"][0].tolist()
    assert (found.blocks >= 0).astype(int).tolist() == wanted["token_type_ids"][0].tolist()
    assert np.array_equal(found.media, wanted["pixel_values"])
    assert found.visual_tokens == SOFT * len(found.media)


def test_the_level_adds_crops_to_oblong_pictures_only() -> None:
    def pictures(size: tuple[int, int]) -> list[int]:
        return [len(gemma().prompt(question(1, size), TASK, visual=level).media) for level in (0, 2, 4)]

    assert pictures((120, 30)) == [1, 3, 5]
    assert pictures((40, 40)) == [1, 1, 1]


def test_a_question_without_pictures_is_asked() -> None:
    found = gemma().prompt(Question(id="q", question="Why?"), TASK.model_copy(update={"instruction": "Be brief."}))
    assert found.media is None
    assert gemma_tokenizer().decode(found.ids) == (
        "<bos><start_of_turn>user\nWhy?\nBe brief.<end_of_turn>\n<start_of_turn>model\n"
    )


def test_what_cannot_be_asked_is_refused() -> None:
    with pytest.raises(ConfigError, match="about a video"):
        gemma().prompt(clip(), TASK)
    with pytest.raises(DataError, match="control tokens"):
        gemma().prompt(Question(id="q", question="see <start_of_image>"), TASK)


def test_a_template_that_shows_no_images_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gemma_tokenizer(), "chat_template", TEMPLATE.replace("<start_of_image>", ""))
    with pytest.raises(ConfigError, match="writes 0 images for 1"):
        gemma().prompt(question(1, (20, 20)), TASK)


@torch.inference_mode()
def test_soft_tokens_are_the_stock_features() -> None:
    subject: Gemma3Subject = gemma()
    prompts = [subject.prompt(question(3, (40, 30), (20, 30)), TASK), subject.prompt(question(2), TASK)]
    found = subject.embeddings(prompts)
    soft = subject.model.get_image_features(torch.from_numpy(prompts[0].media), return_dict=True).pooler_output
    length = found.shape[1]
    own = found[0, length - len(prompts[0]) :]
    assert torch.equal(own[torch.from_numpy(prompts[0].visual)], soft.flatten(0, 1))
    table = subject.model.get_input_embeddings()
    assert torch.equal(found[1, length - len(prompts[1]) :], table(torch.from_numpy(prompts[1].ids)))
