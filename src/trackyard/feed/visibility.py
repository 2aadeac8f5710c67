"""Which token of a pack may attend which, from two integers per token. NumPy only.

Shapes: N packs of L tokens; P pieces of a pack, maximal runs of tokens with the same two integers. Between two pieces
the rule decides once for all their tokens, so that counts need P x P decisions where the mask has L x L.
Source: molmo2 spec section 8.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Flags = NDArray[np.bool_]
Counts = NDArray[np.int64]

PADDING_LEVEL = -1
NOT_VISUAL = -1
ROWS = 256
"""Queries of a piece that a dense mask is written for at a time."""


def may_attend(q: Any, k: Any, level_q: Any, level_k: Any, span_q: Any, span_k: Any) -> Any:
    """The rule, for positions in the pack and their two integers; NumPy arrays and torch tensors alike.

    A query sees keys of its own level or above (a branch: its prefix) that come before it, or that are visual tokens of
    its own row as it is itself. Padding sees itself, and nobody sees padding.
    """
    seen = (k <= q) | ((span_q >= 0) & (span_q == span_k))
    return ((level_q >= 0) & (level_q <= level_k) & seen) | (q == k)


@dataclass(frozen=True, kw_only=True, slots=True)
class Visibility:
    """The attention pattern of N packs: 8 bytes per token instead of L.

    levels: int32 [N, L], segment numbers, PADDING_LEVEL at padding. spans: int32 [N, L], the number of its row at a
    visual token, NOT_VISUAL elsewhere.
    """

    levels: NDArray[np.int32]
    spans: NDArray[np.int32]

    @classmethod
    def of(cls, segments: ArrayLike, examples: ArrayLike, visual: ArrayLike) -> Visibility:
        """From the arrays of a batch [N, L], or of one pack [L]; an example below 0 is padding."""
        example = np.atleast_2d(np.asarray(examples))
        return cls(
            levels=np.where(example >= 0, np.atleast_2d(np.asarray(segments)), PADDING_LEVEL).astype(np.int32),
            spans=np.where(np.atleast_2d(np.asarray(visual)), example, NOT_VISUAL).astype(np.int32),
        )

    def dense(self) -> Flags:
        """Mask [N, L, L], True where a query (row) may attend a key: N * L^2 bytes (1.36 GB at L = 36,864).

        Written piece by piece and ROWS queries at a time: no other array of that size exists while it is built.
        """
        packs, length = self.levels.shape
        mask = np.empty((packs, length, length), dtype=np.bool_)
        for number in range(packs):
            pieces = _pieces(self.levels[number], self.spans[number], cuts=())
            between = _between(pieces)
            for piece, (start, stop) in enumerate(zip(pieces.starts, pieces.starts + pieces.sizes, strict=True)):
                mask[number, start:stop] = np.repeat(between[piece], pieces.sizes)
                if pieces.spans[piece] < 0:
                    shape = np.eye if pieces.levels[piece] < 0 else np.tri
                    for at in range(start, stop, ROWS):
                        rows = slice(at, min(at + ROWS, stop))
                        mask[number, rows, start:stop] = shape(rows.stop - at, stop - start, at - start, dtype=np.bool_)
        return mask

    def pairs(self) -> Counts:
        """Allowed pairs of each pack [N] (A_pairs of the MFU), as the dense mask would sum up to."""
        return self.block_pairs(self.levels.shape[1])[:, 0, 0]

    def block_pairs(self, block: int) -> Counts:
        """Allowed pairs in each tile of `block` queries by `block` keys: [N, ceil(L / block), ceil(L / block)]."""
        length = self.levels.shape[1]
        cuts = tuple(range(block, length, block))
        return np.stack([_tiles(_pieces(*pack, cuts), block) for pack in zip(self.levels, self.spans, strict=True)])


@dataclass(frozen=True, slots=True)
class _Pieces:
    """Runs of equal tokens. Arrays [P]: the first token, the number of tokens, and the two integers of the run."""

    starts: Counts
    sizes: Counts
    levels: NDArray[np.int32]
    spans: NDArray[np.int32]


def _pieces(levels: NDArray[np.int32], spans: NDArray[np.int32], cuts: tuple[int, ...]) -> _Pieces:
    """Runs of one pack; a run also ends at each of `cuts`."""
    changes = np.flatnonzero((levels[1:] != levels[:-1]) | (spans[1:] != spans[:-1])) + 1
    starts = np.union1d(np.union1d([0], changes), cuts).astype(np.int64)
    return _Pieces(starts, np.diff(starts, append=len(levels)), levels[starts], spans[starts])


def _between(pieces: _Pieces) -> Flags:
    """Decision [P, P] between two pieces, by their first tokens; the diagonal holds for visual pieces only."""
    at, level, span = pieces.starts, pieces.levels, pieces.spans
    decision: Flags = may_attend(at[:, None], at[None], level[:, None], level[None], span[:, None], span[None])
    return decision


def _tiles(pieces: _Pieces, block: int) -> Counts:
    sizes = pieces.sizes
    pairs = _between(pieces) * sizes[:, None] * sizes[None]
    own = np.where(pieces.spans >= 0, sizes**2, sizes * (sizes + 1) // 2)
    np.fill_diagonal(pairs, np.where(pieces.levels >= 0, own, sizes))
    # The first piece of each tile: pieces never cross one.
    first = np.flatnonzero(pieces.starts % block == 0)
    tiles: Counts = np.add.reduceat(np.add.reduceat(pairs, first, axis=0), first, axis=1)
    return tiles
