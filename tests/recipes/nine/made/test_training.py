"""A short training lowers the loss, is the same twice, and its folder opens as what was trained."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer

from tests.recipes.nine.made.small import parameters, rows
from trackyard.errors import DataError
from trackyard.evaluate.answering.open_subject import open_subject
from trackyard.feed.tokens import TokenTable
from trackyard.models.routed_molmo2 import load_routed
from trackyard.recipes.nine.made.model import made_tokens, random_made
from trackyard.recipes.nine.made.rows import Lessons
from trackyard.recipes.nine.made.training import make_model, train

MADE = parameters()


def silent(_line: str) -> None:
    pass


def same(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


def test_the_folder_is_what_was_trained(tmp_path: Path) -> None:
    lines: list[str] = []
    measured = make_model(tmp_path / "folder", rows(), MADE, say=lines.append)
    assert measured["steps"] == MADE.steps
    assert measured["last_loss"] < 0.8 * measured["first_loss"]
    assert len(lines) == 4
    tokens = made_tokens(rows(), MADE)
    trained, untrained = random_made(MADE, tokens), random_made(MADE, tokens)
    train(trained, Lessons(rows(), tokens, MADE), MADE, silent)
    loaded = load_routed(tmp_path / "folder", max_positions=MADE.max_positions)
    assert same(loaded, trained)
    assert not same(loaded, untrained)
    assert TokenTable.of(AutoTokenizer.from_pretrained(tmp_path / "folder")).fingerprint == tokens.fingerprint
    subject = open_subject(tmp_path / "folder", device=torch.device("cpu"), precision="fp32")
    assert same(subject.model, trained)
    assert tokens.eos in subject.eos


def test_without_steps_the_model_is_the_random_one(tmp_path: Path) -> None:
    made = parameters(steps=0)
    measured = make_model(tmp_path / "folder", rows(), made, say=silent)
    assert (measured["steps"], measured["first_loss"], measured["last_loss"]) == (0, None, None)
    loaded = load_routed(tmp_path / "folder", max_positions=made.max_positions)
    assert same(loaded, random_made(made, made_tokens(rows(), made)))


def test_no_rows_leave_no_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no training rows"):
        make_model(tmp_path / "folder", [], MADE, say=silent)
    assert not any(tmp_path.iterdir())
