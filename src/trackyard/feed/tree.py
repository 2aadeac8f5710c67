"""The token tree of one row: ids, segments, positions, targets and weights.

Source: molmo2 spec sections 8 (segments, positions) and 10 (weights).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trackyard.errors import DataError
from trackyard.feed.styles import Style
from trackyard.feed.visibility import Visibility

EXAMPLE_STRIDE = 100_000
"""Segment numbers of row e in a pack start at 100,000 e; a branch's number is its index."""
PREFIX_SEGMENT = 10_000
"""Segment of the shared prefix: above every branch, so that branches see it and it sees no branch."""
NO_TARGET = -100
PADDING_EXAMPLE = -1

Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]
Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Stretch:
    """Consecutive tokens of one kind. visual: `mm_token_type_ids` = 1; learned: they are loss targets."""

    ids: Sequence[int]
    visual: bool = False
    learned: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenTree:
    """One row as T tokens. Arrays [T].

    segment: relative to the row (PREFIX_SEGMENT, or the branch). targets[t]: the id that token t must predict, shifted
    along its own branch, NO_TARGET elsewhere. weights[t]: w of section 10 where there is a target, else 0.
    """

    input_ids: Ints
    segment: Ints
    position: Ints
    visual: Flags
    targets: Ints
    weights: Floats

    def __len__(self) -> int:
        return len(self.input_ids)

    @property
    def labels(self) -> int:
        """Loss targets in the row."""
        return int((self.targets != NO_TARGET).sum())


def _flatten(stretches: Sequence[Stretch]) -> tuple[Ints, Flags, Flags]:
    """Ids, visual flags and learned flags of consecutive stretches."""
    lengths = [len(stretch.ids) for stretch in stretches]
    ids = np.fromiter((token for stretch in stretches for token in stretch.ids), dtype=np.int64, count=sum(lengths))
    visual = np.repeat(np.array([stretch.visual for stretch in stretches], dtype=np.bool_), lengths)
    learned = np.repeat(np.array([stretch.learned for stretch in stretches], dtype=np.bool_), lengths)
    return ids, visual, learned


def _targets(ids: Ints, learned: Flags, vocab_size: int) -> Ints:
    """Shift the learned tokens of one uninterrupted path onto the tokens that predict them."""
    targets = np.full(len(ids), NO_TARGET, dtype=np.int64)
    targets[:-1][learned[1:]] = ids[1:][learned[1:]]
    if targets.max(initial=NO_TARGET) >= vocab_size:
        raise DataError(
            what=f"token {int(targets.max())} is a loss target and the head has {vocab_size} rows",
            why="added tokens have no row in the head: the loss would index out of range",
            fix="only assistant text may be learned; report the row to the owner of its import",
        )
    return targets


def grow_tree(
    prefix: Sequence[Stretch], branches: Sequence[Sequence[Stretch]], style: Style, *, vocab_size: int
) -> TokenTree:
    """Join a shared prefix and its branches; a single branch continues the prefix as one sequence.

    A branch starts with text that is not learned (the user's turn), so no target ever belongs to a prefix token.
    """
    shared, shared_visual, shared_learned = _flatten(prefix)
    size = len(shared)
    columns: list[tuple[Ints, ...]] = []
    flags, weights = [shared_visual], [np.zeros(size, dtype=np.float32)]
    first = 0 if len(branches) == 1 else PREFIX_SEGMENT
    columns.append((shared, np.full(size, first), np.arange(size), _targets(shared, shared_learned, vocab_size)))
    for number, branch in enumerate(branches):
        ids, visual, learned = _flatten(branch)
        targets = _targets(ids, learned, vocab_size)
        has_target = targets != NO_TARGET
        weight = style.weight(max(int(has_target.sum()), 1), len(branches))
        columns.append((ids, np.full(len(ids), number), size + np.arange(len(ids)), targets))
        flags.append(visual)
        weights.append(np.where(has_target, weight, 0.0).astype(np.float32))
    ids, segment, position, targets = (np.concatenate(column).astype(np.int64) for column in zip(*columns, strict=True))
    return TokenTree(
        input_ids=ids,
        segment=segment,
        position=position,
        visual=np.concatenate(flags),
        targets=targets,
        weights=np.concatenate(weights),
    )


def blank_tree(tokens: int, token: int) -> TokenTree:
    """A row of `tokens` meaningless text tokens that teaches nothing: keeps the place of one that failed to decode."""
    return TokenTree(
        input_ids=np.full(tokens, token, dtype=np.int64),
        segment=np.zeros(tokens, dtype=np.int64),
        position=np.arange(tokens, dtype=np.int64),
        visual=np.zeros(tokens, dtype=np.bool_),
        targets=np.full(tokens, NO_TARGET, dtype=np.int64),
        weights=np.zeros(tokens, dtype=np.float32),
    )


def allowed(segment: Ints, example: Ints, visual: Flags) -> Flags:
    """Dense attention mask [T, T] of one pack: entry (q, k) is True where query q may attend key k.

    segment: EXAMPLE_STRIDE * example + the row's own segment; example: PADDING_EXAMPLE at padding, which attends itself
    only and is attended by nobody else. T^2 bytes.
    """
    mask: Flags = Visibility.of(segment, example, visual).dense()[0]
    return mask
