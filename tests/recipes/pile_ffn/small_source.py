"""A study on a small mini corpus, before anything of it is fetched; and tokenising it in a process that is killed."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tests.recipes.pile_ffn.mini_parameters import mini_parameters
from trackyard.parameters import parse_parameters
from trackyard.recipes.pile_ffn.parameters import PileFfnParameters
from trackyard.recipes.pile_ffn.study import Study
from trackyard.recipes.pile_ffn.text import tokenizing
from trackyard.recipes.pile_ffn.text.documents import Document, Tokenised
from trackyard.recipes.pile_ffn.text.encoding import Encoding
from trackyard.record.code import CodeIdentity

MINI = {"seed": 0, "train_files": 3, "train_documents": 60, "held_out_documents": 60}
HELD_OUT = {"val_tokens": 3_000, "test_predicted": 30_000, "uat_opt": 2, "uat_eval": 2, "flip": 3, "attack_tokens": 64}
TRAINING = {"steps": 32, "window": 64, "windows_per_step": 16}
MADE = {"family": "gpt_neox", "steps": 30, "vocabulary": 400}
CHUNK = 5_000
"""Tokens: each stream is several chunks."""


def study_of(
    root: Path, *, data: dict[str, Any] | None = None, training: dict[str, Any] | None = None, **changes: Any
) -> Study:
    values = mini_parameters().model_dump(mode="json")
    values["data"] |= {"mini": MINI, "held_out": HELD_OUT, "workers": 1} | (data or {})
    values["training"] |= TRAINING | (training or {})
    values["model"]["made"] |= MADE
    study = Study(root=root, parameters=parse_parameters(PileFfnParameters, values | changes, where="small"))
    study.__dict__["code"] = CodeIdentity(commit="c" * 40, dirty_digest=None)
    return study


def tokenize_counted(root: Path, log: Path, kill_at: int | None) -> None:
    """Tokenise, a line in `log` for each document that is; kill -9 of this process before document `kill_at`.

    kill_at -1: when all sets are complete, in the midst of putting them together.
    """
    count = 0
    whole = tokenizing.encoded

    def counted(documents: Iterable[Document], encoding: Encoding, *, workers: int) -> Iterator[Tokenised]:
        nonlocal count
        for item in whole(documents, encoding, workers=workers):
            if count == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            count += 1
            with log.open("a") as file:
                file.write(f"{item.document.source} {item.document.row}\n")
            yield item

    tokenizing.encoded = counted
    if kill_at == -1:
        tokenizing.write_result = lambda *parts: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[attr-defined]
    tokenizing.tokenize(study_of(root), None, lambda line: None, chunk_tokens=CHUNK)
