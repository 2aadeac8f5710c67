"""A tiny Molmo2, its tokenizer and packs of generated rows, shared by the tests of models, training and evaluation.

Crops of 32 pixels keep a pack near 150 tokens, so that a forward pass takes milliseconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch

from trackyard.acquire.mini.datasets import MINI
from trackyard.feed.batch import Batch, collate, stack_packs
from trackyard.feed.frames import VideoParameters
from trackyard.feed.geometry import VisionGeometry
from trackyard.feed.layout import FeedParameters
from trackyard.feed.prompts import Scope, write_dialogue
from trackyard.feed.sample import Sample, build_prompt, build_sample
from trackyard.feed.tokens import TokenTable, extend_tokenizer, train_tokenizer
from trackyard.models.molmo2 import random_model
from trackyard.row import Row

GEOMETRY = VisionGeometry(crop_size=32, patch_size=8, margin=(1, 1), max_crops=4)
VIDEO = VideoParameters(max_frames=4, fps=2, text_reserve=64)
VOCABULARY = 512
LENGTH = 320

DATASETS = (
    "a-okvqa",
    "molmo2-cap",
    "molmo2-capqa",
    "pixmo-cap",
    "pixmo-count",
    "pixmo-points",
    "tallyqa",
    "tulu",
    "vqa-v2",
)


@lru_cache(maxsize=1)
def tokens() -> TokenTable:
    """A tokenizer trained on a few rows of each dataset used here."""
    texts = []
    for name in DATASETS:
        for index in range(4):
            row = MINI[name].row("train", index)
            for branch in range(len(row.conversations)):
                for question, answer in write_dialogue(row, branch, name, _whole(row), feed().wording).turns:
                    texts.append(f"{question}\n{answer}")
    return TokenTable.of(extend_tokenizer(train_tokenizer(texts, VOCABULARY), VOCABULARY))


def _whole(row: Row) -> Scope:
    videos = [medium for medium in row.media if medium.kind == "video"]
    return Scope(end=videos[0].duration) if videos else Scope(images=len(row.media))


@lru_cache(maxsize=2)
def feed(evaluation: bool = False) -> FeedParameters:
    return FeedParameters(
        geometry=GEOMETRY, video=VIDEO, pointing_crops=4, max_tokens=LENGTH, max_inputs=24, evaluation=evaluation
    )


@lru_cache(maxsize=256)
def sample(name: str, index: int) -> Sample:
    """Row `index` of a generated dataset, as the feed makes it."""
    return build_sample(MINI[name].row("train", index), name, feed(), tokens())


@lru_cache(maxsize=256)
def prompt(name: str, index: int) -> Sample:
    """The same row up to where the model answers."""
    return build_prompt(MINI[name].row("train", index), 0, name, feed(evaluation=True), tokens())


def batch(packs: Sequence[Sequence[Sample]], *, length: int | None = None) -> Batch:
    """Packs of samples as one micro-batch; by default the longest has five tokens of padding."""
    longest = max(sum(len(sample.tree) for sample in pack) for pack in packs)
    filled = [collate(pack, length=length or longest + 5, pad=tokens().pad, geometry=GEOMETRY) for pack in packs]
    return stack_packs(filled, geometry=GEOMETRY)


def model(seed: int = 0, geometry: VisionGeometry = GEOMETRY) -> Any:
    """The `tiny` preset with random weights."""
    torch.set_num_threads(1)
    return random_model("tiny", geometry, max_positions=LENGTH, seed=seed)
