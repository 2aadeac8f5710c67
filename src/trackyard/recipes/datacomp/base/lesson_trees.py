"""Several questions about one scene as one row: what they have in common once, each question behind it as a branch.

A branch sees the common part and itself, and its positions go on from there: exactly what it would be as a sequence of
its own, at half the tokens. NumPy only.

Shapes: N rows of L tokens; M soft tokens; Q places of world tokens, one for each quarter of a scene.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trackyard.feed.tree import NO_TARGET
from trackyard.feed.world_prompts import WorldPrompt

Ints = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Trees:
    """input_ids, positions, targets [N, L] (-100 where nothing is learned); branches [N, L]: number of the branch, -1
    in the common part and at padding; sees [N, L, L]; image [M], blocks [Q + 2] with boundaries: places, the same in
    all rows, `blocks` empty without world tokens."""

    input_ids: Ints
    positions: Ints
    targets: Ints
    branches: Ints
    sees: NDArray[np.bool_]
    image: Ints
    blocks: Ints


def tree(rows: Sequence[Sequence[WorldPrompt]]) -> Trees:
    """rows: prompts with answers about one picture each, all with or all without world tokens behind the image."""
    first = rows[0][0]
    start, stop = first.image_spans[0]
    common = first.world_spans[0][1] + 1 if first.world_spans else stop + 1
    length = max(common + sum(len(prompt.input_ids) - common for prompt in row) for row in rows)
    shape = (len(rows), length)
    ids, positions = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
    targets, branches = np.full(shape, NO_TARGET, dtype=np.int64), np.full(shape, -1, dtype=np.int64)
    sees = np.zeros((*shape, length), dtype=bool)
    for number, row in enumerate(rows):
        ids[number, :common] = row[0].input_ids[:common]
        positions[number, :common] = np.arange(common)
        sees[number, :common, :common] = np.tri(common, dtype=bool)
        sees[number, start:stop, start:stop] = True
        at = common
        for branch, prompt in enumerate(row):
            own = len(prompt.input_ids) - common
            place = slice(at, at + own)
            ids[number, place] = prompt.input_ids[common:]
            positions[number, place] = np.arange(common, common + own)
            targets[number, at : at + own - 1] = prompt.labels[common + 1 :]
            branches[number, place] = branch
            sees[number, place, :common] = True
            sees[number, place, place] = np.tri(own, dtype=bool)
            at += own
        # Padding sees one token: a row of the mask without any gives no number.
        sees[number, at:, 0] = True
    blocks = np.arange(first.world_spans[0][0] - 1, common) if first.world_spans else np.zeros(0, dtype=np.int64)
    return Trees(
        input_ids=ids,
        positions=positions,
        targets=targets,
        branches=branches,
        sees=sees,
        image=np.arange(start, stop),
        blocks=blocks,
    )
