"""Tokens as a person reads them: nothing is left out, and weights stand on the tokens that are learned."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tiny_molmo2 import DATASETS, sample, tokens
from trackyard.feed.styles import style_of
from trackyard.feed.tree import NO_TARGET, Stretch, TokenTree, grow_tree
from trackyard.feed.view_text import Block, blocks_of


def tree_of(*texts: str) -> TokenTree:
    """One row whose answers are `texts`, one branch each."""
    table = tokens()
    branches = [
        [
            Stretch([table.turn_start, *table.encode("user\nq?"), table.turn_end, *table.encode("\n")]),
            Stretch([table.turn_start, *table.encode("assistant\n")]),
            Stretch([*table.encode(text), table.eos], learned=True),
        ]
        for text in texts
    ]
    return grow_tree([Stretch([table.bos])], branches, style_of("user_qa"), vocab_size=table.vocab_size)


@pytest.mark.parametrize("name", DATASETS)
def test_every_token_is_shown_once(name: str) -> None:
    tree = sample(name, 0).tree
    pieces = [piece for block in blocks_of(tree, tokens()) for piece in block.pieces]
    assert [piece.index for piece in pieces] == list(np.cumsum([0, *(piece.tokens for piece in pieces)])[:-1])
    assert sum(piece.tokens for piece in pieces) == len(tree)
    assert sum(piece.tokens for piece in pieces if piece.run is not None) == tree.visual.sum()
    shown = "".join(piece.text for piece in pieces)
    assert shown == tokens().plain.decode(tree.input_ids[~tree.visual].tolist(), skip_special_tokens=False)
    assert [piece.position for piece in pieces] == [int(tree.position[piece.index]) for piece in pieces]


@pytest.mark.parametrize("name", DATASETS)
def test_weights_stand_on_the_learned_tokens(name: str) -> None:
    tree = sample(name, 0).tree
    learned = {piece.index: piece.weight for block in blocks_of(tree, tokens()) for piece in block.pieces
               if piece.weight is not None}  # fmt: skip
    predictors = np.flatnonzero(tree.targets != NO_TARGET)
    assert learned == {int(k) + 1: float(tree.weights[k]) for k in predictors}
    assert all(tree.input_ids[k + 1] == tree.targets[k] for k in predictors)


def test_branches_and_roles() -> None:
    blocks = blocks_of(sample("vqa-v2", 0).tree, tokens())
    branches = len({block.branch for block in blocks} - {None})
    assert branches == 3
    assert [block.role for block in blocks] == ["prefix", *["user", "assistant"] * branches]
    assert [block.branch for block in blocks[1:]] == [0, 0, 1, 1, 2, 2]
    assert [block.segment for block in blocks] == [10_000, 0, 0, 1, 1, 2, 2]


@settings(max_examples=40)
@given(st.lists(st.text(alphabet=st.characters(exclude_categories=["Cs"]), min_size=1), min_size=1, max_size=3))
def test_answers_read_back(answers: list[str]) -> None:
    """Any text comes back as the tokenizer decodes it, characters of several tokens included."""
    table = tokens()
    blocks = [block for block in blocks_of(tree_of(*answers), table) if block.role == "assistant"]
    expected = [table.plain.decode(table.encode(text), skip_special_tokens=False) for text in answers]
    assert [block.answer for block in blocks] == expected


def test_a_character_of_several_tokens_belongs_to_its_last() -> None:
    block: Block = blocks_of(tree_of("é🦔"), tokens())[-1]
    texts = [piece.text for piece in block.pieces if piece.weight is not None]
    assert texts[-2:] == ["🦔", "<|im_end|>"]
    assert "" in texts
