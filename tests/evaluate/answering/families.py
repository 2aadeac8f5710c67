"""Tiny random subjects of every family, questions for them, and what transformers' own `generate` answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from io import BytesIO
from typing import Any

import numpy as np
import torch
from PIL import Image

from tests.feed.gemma_tokenizer import gemma_tokenizer
from tests.models.theworld import tiny as tiny_gemma
from tests.tiny_molmo2 import GEOMETRY, VIDEO, model, tokens
from trackyard.acquire.mini.datasets import MINI
from trackyard.evaluate.answering.causal import CausalSubject
from trackyard.evaluate.answering.gemma import Gemma3Subject
from trackyard.evaluate.answering.molmo2 import Molmo2Subject
from trackyard.evaluate.answering.prompt import Prompt
from trackyard.evaluate.answering.subject import Subject
from trackyard.evaluate.tasks.question import Question
from trackyard.evaluate.tasks.task import Task
from trackyard.models.pixels import normalise_patches
from trackyard.row import Media

torch.set_num_threads(1)
TASK = Task(name="tiny", layout="rows", metric="em", new_tokens=8)
CHOICE = TASK.model_copy(update={"style": "multi_image_mc"})
CAUSAL = ("gpt_neox", "llama", "qwen3")
ENDS = 11
"""One id of so many ends an answer, so that answers of random models have many lengths."""


def picture(width: int, height: int, seed: int) -> Media:
    """Coarse noise as PNG."""
    grain = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    written = BytesIO()
    Image.fromarray(grain).resize((width, height), Image.Resampling.NEAREST).save(written, "PNG")
    return Media(kind="image", data=written.getvalue(), path=f"{seed}.png", width=width, height=height)


def question(number: int, *sizes: tuple[int, int], options: tuple[str, ...] = ()) -> Question:
    media = tuple(picture(*size, seed=10 * number + at) for at, size in enumerate(sizes))
    text = "What is here?" if number % 2 else f"Is number {number} the larger one of those that are shown here?"
    return Question(id=f"tiny:test:{number}", question=text, media=media, options=options)


@cache
def clip() -> Question:
    return Question(id="tiny:test:clip", question="What happens?", media=MINI["molmo2-cap"].row("train", 0).media)


@cache
def questions() -> tuple[Question, ...]:
    """Without pictures, with one, with several, and of many lengths."""
    return (
        question(0),
        question(1, (40, 30)),
        question(2, (90, 40)),
        question(3),
        question(4, (30, 30), (40, 80), (64, 20)),
        question(5, (30, 90), (30, 30)),
        question(6),
        question(7, (70, 70)),
        question(8, (20, 20)),
        question(9),
    )


@cache
def molmo2() -> Molmo2Subject:
    net = model(seed=4)
    with torch.no_grad():
        net.lm_head.weight.mul_(20)
    return Molmo2Subject(net, tokens(), GEOMETRY, VIDEO, eos=frozenset(range(5, 512, ENDS)))


class SmallProcessor:
    """Gemma's stock image processor, whose crops may be as small as these pictures."""

    @staticmethod
    def of() -> Any:
        from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil

        side = tiny_gemma.SIDE
        return Gemma3ImageProcessorPil(size={"height": side, "width": side}, pan_and_scan_min_crop_size=8)


@cache
def gemma(window: int = tiny_gemma.WIDE) -> Gemma3Subject:
    eos = frozenset(range(5, 300, ENDS))
    return Gemma3Subject(
        tiny_gemma.gemma(window), gemma_tokenizer(), SmallProcessor.of(), name="gemma", digest="", eos=eos, pad=0
    )


def gemma_near() -> Gemma3Subject:
    """Its windows hold no prompt."""
    return gemma(tiny_gemma.NARROW)


@cache
def causal(family: str) -> CausalSubject:
    import transformers as of

    sizes: dict[str, Any] = {
        "vocab_size": 528, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
        "intermediate_size": 64, "initializer_range": 0.3,
    }  # fmt: skip
    kinds: dict[str, tuple[Any, Any]] = {
        "gpt_neox": (of.GPTNeoXForCausalLM, of.GPTNeoXConfig(**sizes)),
        "llama": (of.LlamaForCausalLM, of.LlamaConfig(**sizes, num_key_value_heads=2)),
        "qwen3": (of.Qwen3ForCausalLM, of.Qwen3Config(**sizes, num_key_value_heads=2, head_dim=8)),
    }
    torch.manual_seed(3)
    kind, config = kinds[family]
    eos = frozenset(range(5, 528, ENDS))
    return CausalSubject(kind(config), tokens().tokenizer, name=family, digest="", eos=eos, pad=tokens().pad)


@cache
def case(family: str) -> tuple[Subject, tuple[tuple[int, Prompt, int], ...]]:
    """A subject and (key, prompt, cap) of the questions that it can be asked; caps differ."""
    subjects: dict[str, Callable[[], Subject]] = {"molmo2": molmo2, "gemma": gemma, "gemma_near": gemma_near}
    made = subjects.get(family)
    subject: Subject = causal(family) if made is None else made()
    asked = questions() if made else tuple(question(number) for number in range(10))
    if family == "molmo2":
        asked = (*asked, clip())
    caps = (9, 14, 1, 6, 20)
    return subject, tuple(
        (number, subject.prompt(one, TASK), caps[number % len(caps)]) for number, one in enumerate(asked)
    )


FAMILIES = ("molmo2", "gemma", "gemma_near", *CAUSAL)


@torch.inference_mode()
def stock_answer(subject: Subject, prompt: Prompt, cap: int) -> tuple[int, ...]:
    """`generate` of the stock class on one prompt, tokens and pictures handed over as its own processor would."""
    given: dict[str, Any] = {
        "input_ids": torch.from_numpy(prompt.ids)[None],
        "attention_mask": torch.ones((1, len(prompt)), dtype=torch.long),
    }
    blocks = torch.from_numpy(prompt.blocks >= 0).long()[None]
    if isinstance(subject, Molmo2Subject):
        visual = prompt.media.visual
        given["mm_token_type_ids"] = blocks
        if len(visual.grids):
            given["pixel_values"] = normalise_patches(torch.from_numpy(visual.patches))
            given["image_token_pooling"] = torch.from_numpy(visual.pooling)
            given["image_grids"] = torch.from_numpy(visual.grids)
    if isinstance(subject, Gemma3Subject):
        image = subject.model.config.image_token_id
        given["input_ids"] = torch.where(torch.from_numpy(prompt.visual)[None], image, given["input_ids"])
        given["token_type_ids"] = blocks
        if prompt.media is not None:
            given["pixel_values"] = torch.from_numpy(prompt.media)
    found = subject.model.generate(
        **given, max_new_tokens=cap, do_sample=False, eos_token_id=sorted(subject.eos), pad_token_id=subject.pad
    )
    return tuple(found[0, len(prompt) :].tolist())


def tokens_of(found: Sequence[tuple[int, Any]]) -> dict[int, tuple[int, ...]]:
    return {key: generated.tokens for key, generated in found}
