"""Folders of tiny random models, and a root with the project's own tasks and catalogue."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch

from tests.evaluate.answering.families import SmallProcessor, causal, gemma, molmo2
from tests.feed.gemma_tokenizer import gemma_tokenizer
from tests.tiny_molmo2 import GEOMETRY, VIDEO, tokens
from trackyard.acquire.mini.datasets import MINI
from trackyard.publish.export import write_export
from trackyard.row import Row
from trackyard.snapshot.writer import write_dataset

ROOT = Path(__file__).parents[4]
COMMIT = "0" * 40
"""Of the code, as an image without a checkout states it."""
ENVIRONMENT = {"TRACKYARD_COMMIT": COMMIT, "TRACKYARD_DIRTY": ""}
CHOICES, ROWS = "a-okvqa", 7
"""A task of rows with options, and how many of them lie in the snapshot."""


@dataclass(frozen=True)
class SmallWorld:
    """root: where commands are run. models: a folder each. snapshot, pictures, texts: data."""

    root: Path
    models: Path
    snapshot: Path
    pictures: Path
    texts: Path


def make_world(place: Path) -> SmallWorld:
    return SmallWorld(
        root=make_root(place / "root"),
        models=make_models(place / "models"),
        snapshot=make_snapshot(place / "snapshot"),
        pictures=make_files(place / "pictures", pictures=True),
        texts=make_files(place / "texts", pictures=False),
    )


def make_root(root: Path) -> Path:
    """What commands look for in the repository."""
    root.mkdir()
    (root / "params.yaml").write_text("{}\n")
    for name in ("tasks", "catalog"):
        (root / name).symlink_to(ROOT / name)
    return root


def make_models(root: Path) -> Path:
    """Folders `molmo2`, `other` (the same with another head), `gemma` and `causal`."""
    write_export(root / "molmo2", molmo2().model, tokens(), GEOMETRY, VIDEO)
    head = molmo2().model.lm_head.weight
    with torch.no_grad():
        head.mul_(-1)
        write_export(root / "other", molmo2().model, tokens(), GEOMETRY, VIDEO)
        head.mul_(-1)
    gemma().model.save_pretrained(root / "gemma")
    gemma_tokenizer().save_pretrained(root / "gemma")
    SmallProcessor.of().save_pretrained(root / "gemma")
    causal("qwen3").model.save_pretrained(root / "causal")
    tokens().tokenizer.save_pretrained(root / "causal")
    return root


@cache
def choices() -> tuple[Row, ...]:
    return tuple(MINI[CHOICES].row("validation", index) for index in range(ROWS))


def make_snapshot(root: Path) -> Path:
    """Of the task `CHOICES`."""
    write_dataset(root / CHOICES, {"validation": choices()}, dataset=CHOICES, source={"by": "test"}, licence="own")
    return root


def make_files(folder: Path, count: int = 5, *, pictures: bool) -> Path:
    """MMMU's questions as local files; every other one shows a picture."""
    folder.mkdir()
    lines: list[dict[str, Any]] = []
    for number in range(count):
        line: dict[str, Any] = {"id": f"q{number}", "question": f"Which is number {number}?", "answer": "A"}
        line["options"] = ["one", "two", "three"] if number % 2 else []
        if pictures and number % 2 == 0:
            (folder / f"{number}.png").write_bytes(choices()[number].media[0].data)
            line["image_1"] = f"{number}.png"
        lines.append(line)
    (folder / "questions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder
