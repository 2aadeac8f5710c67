"""Rules of context parallelism: one pack shared by C ranks, decided before any of them starts.

Tokens are split evenly, attention heads as well, visual inputs by whole media. Source: molmo2 spec section 12.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from trackyard.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class Share:
    """What one rank of a context-parallel group holds. tokens: of a pack; heads, kv_heads: while it attends.

    kv_copies: ranks that hold the same key and value head, 1 unless the group is larger than their number.
    """

    tokens: int
    heads: int
    kv_heads: int
    kv_copies: int = 1


def padded_length(tokens: int, degree: int, block: int) -> int:
    """Tokens of a pack once it is padded to whole shares of `degree` ranks and whole blocks of the attention mask."""
    unit = math.lcm(degree, block)
    return -(-tokens // unit) * unit


def check_degree(
    degree: int,
    *,
    heads: int,
    kv_heads: int,
    length: int,
    world: int,
    ranks: int,
    packs_per_step: int | None = None,
) -> Share:
    """One rank's share at context-parallel degree C = `degree`; ConfigError names everything that does not divide.

    length: L, padded (`padded_length`). world: processes. ranks: R, data-parallel ranks. packs_per_step: B; None where
    the caller divides it over micro-batches as well and checks it there.
    """
    problems = []
    if degree < 1 or ranks < 1:
        problems.append(f"degree {degree} and {ranks} data-parallel ranks are no group")
    else:
        if heads % degree:
            problems.append(f"{heads} attention heads do not divide over {degree} ranks")
        if length % degree:
            problems.append(f"packs of {length} tokens do not divide over {degree} ranks")
        if kv_heads % degree and degree % kv_heads:
            problems.append(f"{kv_heads} key and value heads neither divide over {degree} ranks nor repeat evenly")
        if ranks * degree != world:
            problems.append(f"{ranks} data-parallel ranks of {degree} are not {world} processes")
        if packs_per_step is not None and packs_per_step % ranks:
            problems.append(f"{packs_per_step} packs a step do not divide over {ranks} data-parallel ranks")
    if problems:
        raise ConfigError(
            what=f"context parallelism of degree {degree}: " + "; ".join(problems),
            why="every rank of a group computes an equal part of each pack, and every group an equal part of the step",
            fix="choose a degree that divides the model's heads, and a number of processes that is a multiple of it, "
            "in params.yaml; 1 turns context parallelism off",
        )
    return Share(
        tokens=length // degree,
        heads=heads // degree,
        kv_heads=max(kv_heads // degree, 1),
        kv_copies=max(degree // kv_heads, 1),
    )


def split_inputs(counts: Sequence[int], degree: int) -> list[list[int]]:
    """Places of the media that each rank encodes; together all of them, once, in order.

    counts: crops or frames of each medium, at least 1. Rank r ends at the first medium at which the running count
    reaches (r + 1)/C of the total. A rank left idle takes the last medium of the one before it, where that one has
    another; an idle rank with nothing to take encodes nothing and still joins every collective.
    """
    if degree < 1 or min(counts, default=1) < 1:
        raise ConfigError(
            what=f"visual inputs {list(counts)} over {degree} ranks",
            why="a medium without inputs has no place in a pack, and a group has at least one rank",
            fix="build the plan again: `trackyard plan build`",
        )
    total = sum(counts)
    running = list(accumulate(counts))
    split: list[list[int]] = []
    start = 0
    for rank in range(degree):
        stop = start
        while stop < len(counts) and (stop == 0 or running[stop - 1] * degree < (rank + 1) * total):
            stop += 1
        split.append(list(range(start, stop)))
        start = stop
    for rank in range(1, degree):
        if not split[rank] and len(split[rank - 1]) > 1:
            split[rank].append(split[rank - 1].pop())
    return split
