"""Packing rows into sequences under two budgets: tokens and image inputs.

Source: molmo2 spec section 9. Two things differ from the release's solver, both in favour of fill: rows are packed by
exact lengths, not lengths rounded up to 32 tokens; and every pack contains the most valuable row of the pool. Without
the second, awkward rows pile up in the pool: on the seeded trace of the packing benchmark fill is 0.87 without it and
0.925 with it, where the bound is 0.930.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from trackyard.errors import ConfigError

POOL = 48
"""Rows that the packer chooses from, as in the release."""
IMAGE_WEIGHT = 30
"""Tokens that one image input is worth in the objective; stage 1 uses 1."""
SMALL = 12
"""Pools up to this many rows are solved exactly."""
NODES = 300
"""Subsets looked at per pack in larger pools; 3,000 raise fill by 0.003 and take three times as long."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Budget:
    """Limits of one pack. tokens: sequence length L; inputs: image crops and video frames I."""

    tokens: int
    inputs: int

    def __post_init__(self) -> None:
        if self.tokens < 1 or self.inputs < 0:
            raise ConfigError(
                what=f"budget of {self.tokens} tokens and {self.inputs} inputs",
                why="no row fits such a pack",
                fix="set the sequence length to at least 1 and the input limit to at least 0",
            )

    def require_fit(self, tokens: int, inputs: int, *, row: str) -> None:
        """ConfigError unless a row of this length fits a pack of its own."""
        if not (1 <= tokens <= self.tokens and 0 <= inputs <= self.inputs):
            raise ConfigError(
                what=f"{row} has {tokens} tokens and {inputs} inputs; a pack takes {self.tokens} and {self.inputs}",
                why="a row is never cut inside the packer, where nobody would see it",
                fix="raise max_tokens and max_inputs of the stage, or leave the row out of the snapshot",
            )


def best_subset(
    tokens: Sequence[int],
    inputs: Sequence[int],
    *,
    budget: Budget,
    image_weight: int = IMAGE_WEIGHT,
    with_heaviest: bool = False,
    nodes: int = NODES,
) -> list[int]:
    """Positions, ascending, of the subset with the largest sum of `tokens + image_weight * inputs` within the budget.

    Exact for up to 12 rows; for more, branch and bound stops after `nodes` subsets. The first path it follows is the
    first bin of first-fit decreasing, so the result is never worth less. Ties go to the subset found first.
    Every row must fit a pack of its own. with_heaviest: only subsets that contain the most valuable row.
    """
    order = _decreasing(tokens, inputs, image_weight)
    size = len(order)
    t = [tokens[k] for k in order]
    i = [inputs[k] for k in order]
    tokens_left, inputs_left = [0] * (size + 1), [0] * (size + 1)  # sums over k..size-1: the bound of what can be added
    for k in range(size - 1, -1, -1):
        tokens_left[k] = tokens_left[k + 1] + t[k]
        inputs_left[k] = inputs_left[k + 1] + i[k]
    limit = 1 << SMALL if size <= SMALL else max(nodes, size)
    room_t, room_i, value, best, seen = budget.tokens, budget.inputs, 0, 0, 0
    chosen: list[int] = []
    found: list[int] = []
    k = 0
    while seen < limit:
        useful = k < size and not (with_heaviest and k > 0 and not chosen)
        if useful:
            more_t, more_i = tokens_left[k], inputs_left[k]
            bound = (more_t if more_t < room_t else room_t) + image_weight * (more_i if more_i < room_i else room_i)
            useful = value + bound > best
        if useful:
            if t[k] <= room_t and i[k] <= room_i:
                seen += 1
                chosen.append(k)
                room_t -= t[k]
                room_i -= i[k]
                value += t[k] + image_weight * i[k]
                if value > best:
                    best, found = value, chosen.copy()
        elif chosen:
            k = chosen.pop()  # nothing better along this path: go on as if row k had not been taken
            room_t += t[k]
            room_i += i[k]
            value -= t[k] + image_weight * i[k]
        else:
            break
        k += 1
    return sorted(order[k] for k in found)


def first_fit_decreasing(
    tokens: Sequence[int], inputs: Sequence[int], *, budget: Budget, image_weight: int = IMAGE_WEIGHT
) -> list[list[int]]:
    """Bins of positions: rows by decreasing value, each into the first bin with room. Every row must fit a bin."""
    bins: list[list[int]] = []
    rooms: list[tuple[int, int]] = []
    for k in _decreasing(tokens, inputs, image_weight):
        for number, (room_t, room_i) in enumerate(rooms):
            if tokens[k] <= room_t and inputs[k] <= room_i:
                bins[number].append(k)
                rooms[number] = (room_t - tokens[k], room_i - inputs[k])
                break
        else:
            bins.append([k])
            rooms.append((budget.tokens - tokens[k], budget.inputs - inputs[k]))
    return [sorted(members) for members in bins]


def _decreasing(tokens: Sequence[int], inputs: Sequence[int], image_weight: int) -> list[int]:
    return sorted(range(len(tokens)), key=lambda k: (-tokens[k] - image_weight * inputs[k], k))


def pack_stream(
    draws: Iterator[tuple[int, int]],
    *,
    budget: Budget,
    total: int,
    image_weight: int = IMAGE_WEIGHT,
    pool: int = POOL,
) -> Iterator[list[int]]:
    """Yield exactly `total` packs, each a non-empty ascending list of draw numbers.

    draws: (tokens, inputs) of draw 0, 1, …, endless. The packs together hold a prefix of the draws, each once: near the
    end a draw is taken only while first-fit decreasing still packs all that is waiting into the packs that remain.
    Raises ConfigError for a row that fits no pack.
    """
    waiting: list[tuple[int, int, int]] = []  # draw number, tokens, inputs
    drawn = 0
    following: tuple[int, int] | None = None  # looked at, not yet drawn

    def bins(rows: list[tuple[int, int, int]]) -> list[list[int]]:
        return first_fit_decreasing(
            [row[1] for row in rows], [row[2] for row in rows], budget=budget, image_weight=image_weight
        )

    for remaining in range(total, 0, -1):
        while len(waiting) < pool:
            if following is None:
                following = next(draws)
                budget.require_fit(*following, row=f"draw {drawn}")
            row = (drawn, *following)
            # Fewer rows than packs always fit, so the check costs nothing until the end is near.
            if len(waiting) >= remaining and len(bins([*waiting, row])) > remaining:
                break
            waiting.append(row)
            drawn, following = drawn + 1, None
        subset = best_subset(
            [row[1] for row in waiting],
            [row[2] for row in waiting],
            budget=budget,
            image_weight=image_weight,
            with_heaviest=True,
        )
        rest = _without(waiting, subset)
        if len(rest) >= remaining and len(bins(rest)) >= remaining:
            # Greed now would leave more than the remaining packs hold; this bin leaves exactly the other bins.
            subset = bins(waiting)[0]
            rest = _without(waiting, subset)
        yield [waiting[k][0] for k in subset]
        waiting = rest


def _without(rows: list[tuple[int, int, int]], positions: list[int]) -> list[tuple[int, int, int]]:
    taken = set(positions)
    return [row for k, row in enumerate(rows) if k not in taken]
