"""The tokens of a row as a person reads them: by role, special tokens named, visual placeholders as one run.

Everything comes from the ids that are trained on, never from the row's own text, so the page cannot flatter the feed.
Source: molmo2 spec sections 7 (turns) and 8 (prefix, branches).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from trackyard.feed.tokens import TokenTable
from trackyard.feed.tree import NO_TARGET, TokenTree

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
LONGEST_CHARACTER = 4
"""Bytes, and with a byte-level vocabulary tokens, that one character can be spread over."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Piece:
    """One token, or a run of visual tokens.

    index: of the (first) token in its row; position: its position id; tokens: how many. weight: loss weight of the
    token as a target, None where it is none. text: "" for a token whose character ends in the next one.
    """

    index: int
    position: int
    text: str = ""
    special: bool = False
    weight: float | None = None
    tokens: int = 1
    run: int | None = None
    """Number of the visual run in the row, from 0; None for text."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Block:
    """Consecutive tokens of one role. branch: None for the prefix. segment: relative to the row."""

    role: Literal["prefix", "user", "assistant"]
    branch: int | None
    segment: int
    pieces: tuple[Piece, ...]

    @property
    def answer(self) -> str:
        """The text that is learned in it, without special tokens."""
        return "".join(piece.text for piece in self.pieces if piece.weight is not None and not piece.special)


def blocks_of(tree: TokenTree, tokens: TokenTable) -> list[Block]:
    """Cut a row's tokens where a turn starts or a segment changes. What precedes the first turn is the prefix."""
    ids, segments = tree.input_ids.tolist(), tree.segment.tolist()
    starts = [0] + [
        k for k in range(1, len(ids)) if ids[k] == tokens.turn_start or segments[k] != segments[k - 1]
    ]  # fmt: skip
    pieces = _pieces(tree, tokens, starts)
    blocks: list[Block] = []
    branch, before = -1, None
    for start, stop in zip(starts, [*starts[1:], len(ids)], strict=True):
        role: Literal["prefix", "user", "assistant"] = "prefix"
        if ids[start] == tokens.turn_start:
            opened = tokens.plain.decode(ids[start + 1 : stop], skip_special_tokens=False)
            role = "assistant" if opened.startswith("assistant") else "user"
            if segments[start] != before or branch < 0:
                branch += 1
            before = segments[start]
        shown = tuple(piece for piece in pieces if start <= piece.index < stop)
        blocks.append(
            Block(role=role, branch=None if role == "prefix" else branch, segment=segments[start], pieces=shown)
        )
    return blocks


def _pieces(tree: TokenTree, tokens: TokenTable, starts: Sequence[int]) -> list[Piece]:
    """Every token in order; neighbouring visual tokens, up to the end of an image view or a frame, as one."""
    special = {tokens.bos, tokens.eos, tokens.pad, tokens.turn_start, tokens.turn_end}
    ids, positions, visual = tree.input_ids.tolist(), tree.position.tolist(), tree.visual.tolist()
    # A target sits on the token that predicts it: the one before, in the same branch.
    learned = [False, *(tree.targets != NO_TARGET).tolist()[:-1]]
    weights = [0.0, *tree.weights.tolist()[:-1]]
    texts = _texts(ids, tokens, special, set(starts))
    found: list[Piece] = []
    runs = index = 0
    while index < len(ids):
        if visual[index]:
            stop = index
            while stop < len(ids) and visual[stop]:
                stop += 1
            found.append(Piece(index=index, position=positions[index], tokens=stop - index, run=runs))
            runs, index = runs + 1, stop
            continue
        found.append(
            Piece(
                index=index,
                position=positions[index],
                text=texts[index],
                special=ids[index] >= tokens.vocab_size or ids[index] in special,
                weight=weights[index] if learned[index] else None,
            )
        )
        index += 1
    return found


def _texts(ids: Sequence[int], tokens: TokenTable, special: set[int], starts: set[int]) -> list[str]:
    """The text of every token; a character that is spread over several is given to the last of them."""
    texts = [""] * len(ids)
    for group in _groups(ids, tokens, special, starts):
        texts[group[-1]] = tokens.plain.decode([ids[k] for k in group], skip_special_tokens=False)
    return texts


def _groups(ids: Sequence[int], tokens: TokenTable, special: set[int], starts: set[int]) -> Iterator[list[int]]:
    held: list[int] = []
    for index, token in enumerate(ids):
        if held and (index in starts or token in special or token >= tokens.vocab_size):
            yield held
            held = []
        held.append(index)
        text = tokens.plain.decode([ids[k] for k in held], skip_special_tokens=False)
        if not text.endswith(REPLACEMENT) or len(held) == LONGEST_CHARACTER:
            yield held
            held = []
    if held:
        yield held
