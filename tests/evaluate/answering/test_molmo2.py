"""Molmo2 as a subject: the feed's prompts, the stock features, levels that act."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.evaluate.answering.families import CHOICE, TASK, clip, molmo2, question, questions
from tests.tiny_molmo2 import GEOMETRY, tokens
from trackyard.errors import ConfigError, DataError
from trackyard.evaluate.answering.cache import new_cache, tokens_in
from trackyard.evaluate.answering.molmo2 import IMAGES
from trackyard.evaluate.answering.prompt import Prompt
from trackyard.evaluate.tasks.question import Question
from trackyard.feed.geometry import tile
from trackyard.models.pixels import normalise_patches


def words(prompt: Prompt) -> str:
    found: str = tokens().tokenizer.decode(prompt.ids[prompt.blocks < 0])
    return found


def test_prompts_are_those_of_the_chat_template() -> None:
    found = molmo2().prompt(question(1, (40, 30)), TASK)
    turn = [{"role": "user", "content": "What is here?"}]
    wanted = tokens().tokenizer.apply_chat_template(turn, tokenize=True, add_generation_prompt=True)["input_ids"]
    assert found.ids[found.blocks < 0].tolist() == wanted


def test_a_style_is_tagged_and_options_follow_its_wording() -> None:
    tagged = TASK.model_copy(update={"style": "vqa2"})
    assert "user\nvqa2: What is here?" in words(molmo2().prompt(question(1), tagged))
    choice = question(1, options=("red", "blue"))
    lettered = "What is here?\nA. red\nB. blue\nAnswer with the letter of the right option only."
    assert f"user\n{lettered}" in words(molmo2().prompt(choice, CHOICE))
    assert f"user\nvqa2: {lettered}" in words(molmo2().prompt(choice, tagged)), "options are never dropped"


@pytest.mark.parametrize("level", [1, 2, 4])
def test_the_visual_level_limits_crops(level: int) -> None:
    wide = question(2, (120, 40))
    found = molmo2().prompt(wide, TASK, visual=level)
    tiling = tile(40, 120, GEOMETRY, level)
    assert len(found.media.visual.patches) == tiling.inputs <= 1 + level
    assert found.visual_tokens == tiling.pooled == int(found.visual.sum())


def test_fewer_crops_lower_the_tokens_of_a_large_picture_and_leave_a_small_one() -> None:
    def dose(size: tuple[int, int]) -> list[int]:
        return [molmo2().prompt(question(1, size), TASK, visual=level).visual_tokens for level in (1, 2, 4)]

    large, small = dose((160, 160)), dose((32, 32))
    assert large == sorted(large)
    assert large[0] < large[-1]
    assert len(set(small)) == 1
    assert molmo2().prompt(question(1, (160, 160)), TASK).visual_tokens == large[-1], "the export's own level"


def test_levels_and_media_out_of_range_are_refused() -> None:
    with pytest.raises(ConfigError, match="visual level 0"):
        molmo2().prompt(question(1, (8, 8)), TASK, visual=0)
    many = question(1, *[(8, 8)] * (IMAGES + 1))
    with pytest.raises(DataError, match="21 media, 20 at most"):
        molmo2().prompt(many, TASK)
    assert len(molmo2().prompt(replace(many, media=many.media[:IMAGES]), TASK).media.visual.grids) == IMAGES


@torch.inference_mode()
def test_embeddings_are_the_stock_ones_bit_for_bit() -> None:
    subject = molmo2()
    prompts = [subject.prompt(one, TASK) for one in (*questions()[:6], clip())]
    found = subject.embeddings(prompts)
    stock = subject.model
    length = max(len(prompt) for prompt in prompts)
    ids = np.stack([np.pad(prompt.ids, (length - len(prompt), 0), constant_values=subject.pad) for prompt in prompts])
    wanted = stock.get_input_embeddings()(torch.from_numpy(ids))
    # One call for all pictures, as ours: their number decides how the kernels round.
    shown = [prompt.media.visual for prompt in prompts if len(prompt.media.visual.grids)]
    moved, offset = [], 0
    for visual in shown:
        moved.append(np.where(visual.pooling >= 0, visual.pooling + offset, -1))
        offset += visual.patches.shape[0] * visual.patches.shape[1]
    features = stock.get_image_features(
        normalise_patches(torch.from_numpy(np.concatenate([visual.patches for visual in shown]))),
        torch.from_numpy(np.concatenate(moved)),
        torch.from_numpy(np.concatenate([visual.grids for visual in shown])),
    ).pooler_output
    wanted[torch.from_numpy(ids) == stock.config.image_token_id] += torch.cat(features)
    assert torch.equal(found, wanted)


def test_the_three_parts_are_apart() -> None:
    """The language model is called with finished embeddings and runs no part of the vision tower."""
    subject = molmo2()
    prompts = [subject.prompt(questions()[4], TASK)]
    embeddings, cache = subject.embeddings(prompts), new_cache()
    calls: list[str] = []
    core = subject.model.model
    hooks = [
        module.register_forward_hook(lambda *_, name=name: calls.append(name))
        for name, module in (("vision", core.vision_tower), ("language", core.language_model))
    ]
    try:
        logits = subject.first(prompts, embeddings, cache)
        mask = torch.ones((1, len(prompts[0]) + 1), dtype=torch.bool)
        logits = subject.next(logits.argmax(-1)[:, None], mask, torch.tensor([[len(prompts[0])]]), cache)
        assert calls == ["language", "language"]
        subject.embeddings(prompts)
        assert calls == ["language", "language", "vision"]
    finally:
        for hook in hooks:
            hook.remove()
    assert logits.dtype == torch.float32
    assert logits.shape == (1, 512)
    assert tokens_in(cache) == len(prompts[0]) + 1


def test_what_a_clip_is_shown_with_comes_from_the_truth() -> None:
    whole = molmo2().prompt(clip(), TASK)
    early = molmo2().prompt(replace(clip(), truth={"clip": [0.0, 0.5]}), TASK)
    assert early.visual_tokens < whole.visual_tokens
    told = replace(clip(), truth={"subtitle": [[0.0, 1.0, "hello there"]]})
    assert "hello there" in words(molmo2().prompt(told, TASK))


def test_a_question_left_open_is_asked_by_its_style() -> None:
    pointing = TASK.model_copy(update={"style": "pointing"})
    asked = Question(id="q", question="", media=question(1, (30, 30)).media, truth={"label": "ball"})
    assert "ball" in words(molmo2().prompt(asked, pointing))
    with pytest.raises(DataError, match="gives no prompt"):
        molmo2().prompt(replace(asked, truth={}), pointing)


def test_text_is_without_special_tokens() -> None:
    ids = [*tokens().encode("a ball"), tokens().eos]
    assert molmo2().text(ids) == "a ball"
