"""Answers of a tiny Molmo2 by the engine in batches, side by side with the stock `generate` on one prompt at a time.

    python -m benchmarks.answering

Both read the same prompts (text, images, clips), whose preparation is not timed, and must give the same tokens. The
model is random, and one id of 23 ends an answer, so that some end early and others reach their cap.
Source: nine-datasets spec section 6; the target is that of the evaluation's acceptance.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from benchmarks.harness import Contender, Target, judge, write_record
from benchmarks.staying import serve
from benchmarks.turns import alternate

RATIO = 3.0
OURS = "trackyard"
LOOP = "generate, one at a time"
BATCH = 32
NEW_TOKENS = 16
PROMPTS = 96
DATASETS = ("tallyqa", "vqa-v2", "tulu", "a-okvqa", "pixmo-count", "molmo2-cap")
VOCABULARY = 512


def prepared() -> tuple[Any, list[Any]]:
    """The model as a subject, and its prompts."""
    import torch

    from trackyard.acquire.mini.datasets import MINI
    from trackyard.evaluate.answering.molmo2 import Molmo2Subject
    from trackyard.evaluate.tasks.question import Question
    from trackyard.evaluate.tasks.task import Task
    from trackyard.feed.frames import VideoParameters
    from trackyard.feed.geometry import VisionGeometry
    from trackyard.feed.tokens import TokenTable, extend_tokenizer, train_tokenizer
    from trackyard.models.molmo2 import random_model

    torch.set_num_threads(1)
    geometry = VisionGeometry(crop_size=32, patch_size=8, margin=(1, 1), max_crops=4)
    rows = [MINI[DATASETS[at % len(DATASETS)]].row("train", at // len(DATASETS)) for at in range(PROMPTS)]
    asked = [
        Question(id=f"{at}", question=row.conversations[0][0].content or "What is it?", media=row.media)
        for at, row in enumerate(rows)
    ]
    tokenizer = extend_tokenizer(train_tokenizer([one.question for one in asked], VOCABULARY), VOCABULARY)
    model: Any = random_model("tiny", geometry, max_positions=4096, seed=4)
    with torch.no_grad():
        # No two logits are nearly equal, so that rounding decides nothing.
        model.lm_head.weight.mul_(20)
    video = VideoParameters(max_frames=4, text_reserve=64)
    subject = Molmo2Subject(model, TokenTable.of(tokenizer), geometry, video, eos=frozenset(range(5, VOCABULARY, 23)))
    task = Task(name="tiny", layout="rows", metric="em", new_tokens=NEW_TOKENS)
    return subject, [subject.prompt(one, task) for one in asked]


def by_engine(subject: Any, prompts: list[Any]) -> list[list[int]]:
    """All prompts through the engine."""
    from trackyard.evaluate.answering.engine import answer

    found = dict(answer(subject, ((at, one, NEW_TOKENS) for at, one in enumerate(prompts)), batch=BATCH))
    return [list(found[at].tokens) for at in range(len(prompts))]


def by_generate(subject: Any, prompts: list[Any]) -> list[list[int]]:
    """All prompts, one by one, through what transformers offers."""
    import torch

    from trackyard.models.pixels import normalise_patches

    answers = []
    for one in prompts:
        visual, given = one.media.visual, {}
        if len(visual.grids):
            given = {
                "pixel_values": normalise_patches(torch.from_numpy(visual.patches)),
                "image_token_pooling": torch.from_numpy(visual.pooling),
                "image_grids": torch.from_numpy(visual.grids),
            }
        with torch.inference_mode():
            found = subject.model.generate(
                input_ids=torch.from_numpy(one.ids)[None],
                attention_mask=torch.ones((1, len(one)), dtype=torch.long),
                mm_token_type_ids=torch.from_numpy(one.blocks >= 0).long()[None],
                max_new_tokens=NEW_TOKENS,
                do_sample=False,
                eos_token_id=sorted(subject.eos),
                pad_token_id=subject.pad,
                **given,
            )
        answers.append(found[0, len(one) :].tolist())
    return answers


def child(name: str) -> None:
    """Answer once for the comparison, and once more for every turn."""
    subject, prompts = prepared()
    way = by_engine if name == OURS else by_generate

    def turn() -> float:
        way(subject, prompts)
        return len(prompts)

    serve(turn, way(subject, prompts))


def measure(rounds: int) -> dict[str, Any]:
    contenders = [Contender(name=name, argv=["benchmarks/answering.py", "--child", name]) for name in (OURS, LOOP)]
    figures = alternate(contenders, metric="cpu_s", rounds=rounds)
    return {
        "name": f"{PROMPTS} prompts with and without pictures, {NEW_TOKENS} new tokens at most, batch {BATCH}",
        "unit": "answers/cpu-s",
        "figures": figures,
        "targets": judge(figures, [Target(peer=LOOP, ratio=RATIO)]),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scratch", type=Path, help="not used: nothing is written")
    parser.add_argument("--child", choices=(OURS, LOOP), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        child(given.child)
        return 0
    return 0 if write_record("answering", [measure(given.rounds)], packages=["torch", "transformers"]) else 1


if __name__ == "__main__":
    sys.exit(main())
