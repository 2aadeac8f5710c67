"""The packer's inner loops, compiled: importing this module imports numba, so only what packs imports it.

A pool is three aligned arrays, by decreasing value, earlier rows first among equals:
t (tokens), i (inputs) and the number of each row. Source: molmo2 spec section 9.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trackyard.plan.compiled import compiled

Int64s = NDArray[np.int64]

_INTS = "int64[::1]"
SMALL = 12
"""Pools up to this many rows are solved exactly."""


def _best(
    t: Int64s, i: Int64s, size: int, weight: int, room_t: int, room_i: int, heaviest: bool, nodes: int, found: Int64s
) -> int:
    """Write the positions of the best subset of a pool to `found`, ascending; returns how many.

    Depth first, taking a row before leaving it, so the first path is the first bin of first-fit decreasing.
    nodes: subsets to look at; all of them in a small pool. heaviest: only subsets with row 0.
    """
    left_t = np.zeros(size + 1, np.int64)  # sums over k..size-1: the bound of what can still be added
    left_i = np.zeros(size + 1, np.int64)
    for k in range(size - 1, -1, -1):
        left_t[k] = left_t[k + 1] + t[k]
        left_i[k] = left_i[k + 1] + i[k]
    limit = 1 << SMALL if size <= SMALL else max(nodes, size)
    chosen = np.empty(size, np.int64)
    depth = 0
    count = 0
    value = 0
    best = 0
    seen = 0
    k = 0
    while seen < limit:
        useful = k < size and not (heaviest and k > 0 and depth == 0)
        if useful:
            useful = value + min(left_t[k], room_t) + weight * min(left_i[k], room_i) > best
        if useful:
            if t[k] <= room_t and i[k] <= room_i:
                seen += 1
                chosen[depth] = k
                depth += 1
                room_t -= t[k]
                room_i -= i[k]
                value += t[k] + weight * i[k]
                if value > best:
                    best = value
                    count = depth
                    for at in range(depth):
                        found[at] = chosen[at]
        elif depth:
            depth -= 1
            k = chosen[depth]  # nothing better along this path: go on as if row k had not been taken
            room_t += t[k]
            room_i += i[k]
            value -= t[k] + weight * i[k]
        else:
            break
        k += 1
    return count


best = compiled(f"int64({_INTS}, {_INTS}, int64, int64, int64, int64, boolean, int64, {_INTS})", _best)


def _first_fit(t: Int64s, i: Int64s, size: int, limit_t: int, limit_i: int, bins: Int64s) -> int:
    """Write the bin of each row of a pool to `bins`, every row into the first with room; returns how many bins."""
    room_t = np.empty(size, np.int64)
    room_i = np.empty(size, np.int64)
    count = 0
    for k in range(size):
        number = 0
        while number < count and (t[k] > room_t[number] or i[k] > room_i[number]):
            number += 1
        if number == count:
            room_t[count] = limit_t
            room_i[count] = limit_i
            count += 1
        room_t[number] -= t[k]
        room_i[number] -= i[k]
        bins[k] = number
    return count


first_fit = compiled(f"int64({_INTS}, {_INTS}, int64, int64, int64, {_INTS})", _first_fit)


def _insert(
    pool_t: Int64s, pool_i: Int64s, pool_row: Int64s, size: int, tokens: int, inputs: int, weight: int, row: int
) -> int:
    """Put a row, later than all in the pool, at its place; returns that place."""
    place = size
    while place and pool_t[place - 1] + weight * pool_i[place - 1] < tokens + weight * inputs:
        pool_t[place] = pool_t[place - 1]
        pool_i[place] = pool_i[place - 1]
        pool_row[place] = pool_row[place - 1]
        place -= 1
    pool_t[place] = tokens
    pool_i[place] = inputs
    pool_row[place] = row
    return place


insert = compiled(f"int64({_INTS}, {_INTS}, {_INTS}, int64, int64, int64, int64, int64)", _insert)


def _remove(
    pool_t: Int64s, pool_i: Int64s, pool_row: Int64s, size: int, taken: Int64s, count: int,
    t: Int64s, i: Int64s, row: Int64s,
) -> int:  # fmt: skip
    """Copy the pool to t, i and row without the ascending positions `taken[:count]`; returns how many are left."""
    following = 0
    left = 0
    for k in range(size):
        if following < count and taken[following] == k:
            following += 1
        else:
            t[left] = pool_t[k]
            i[left] = pool_i[k]
            row[left] = pool_row[k]
            left += 1
    return left


remove = compiled(f"int64({_INTS}, {_INTS}, {_INTS}, int64, {_INTS}, int64, {_INTS}, {_INTS}, {_INTS})", _remove)


def _fill(
    tokens: Int64s, inputs: Int64s, waiting: int, weight: int, limit_t: int, limit_i: int, capacity: int,
    remaining: int, nodes: int, members: Int64s, sizes: Int64s, left: Int64s,
) -> tuple[int, int]:  # fmt: skip
    """Pack rows 0, 1, … until they run out or `remaining` packs are made; returns (packs, rows that still wait).

    tokens, inputs [rows]: the first `waiting` rows are in the pool already. capacity: size of the pool. Written:
    members [rows]: row numbers pack after pack, ascending within each; sizes [rows]: rows of every pack;
    left [capacity]: numbers of the rows that wait, by decreasing value.
    """
    space = capacity + 1  # one more, for the row that is only tried
    pool_t, pool_i, pool_row = np.empty(space, np.int64), np.empty(space, np.int64), np.empty(space, np.int64)
    rest_t, rest_i, rest_row = np.empty(space, np.int64), np.empty(space, np.int64), np.empty(space, np.int64)
    found, bins = np.empty(space, np.int64), np.empty(space, np.int64)
    size = 0
    row = 0
    packs = 0
    emitted = 0
    while row < waiting:
        insert(pool_t, pool_i, pool_row, size, tokens[row], inputs[row], weight, row)
        size += 1
        row += 1
    while remaining:
        while size < capacity and row < len(tokens):
            place = insert(pool_t, pool_i, pool_row, size, tokens[row], inputs[row], weight, row)
            # Fewer rows than packs always fit, so the check costs nothing until the end is near.
            if size >= remaining and first_fit(pool_t, pool_i, size + 1, limit_t, limit_i, bins) > remaining:
                found[0] = place
                remove(pool_t, pool_i, pool_row, size + 1, found, 1, pool_t, pool_i, pool_row)
                break
            size += 1
            row += 1
        if row == len(tokens):
            break
        count = best(pool_t, pool_i, size, weight, limit_t, limit_i, True, nodes, found)
        kept = remove(pool_t, pool_i, pool_row, size, found, count, rest_t, rest_i, rest_row)
        if kept >= remaining and first_fit(rest_t, rest_i, kept, limit_t, limit_i, bins) >= remaining:
            # Greed now would leave more than the remaining packs hold; this bin leaves exactly the other bins.
            first_fit(pool_t, pool_i, size, limit_t, limit_i, bins)
            count = 0
            for k in range(size):
                if bins[k] == 0:
                    found[count] = k
                    count += 1
            kept = remove(pool_t, pool_i, pool_row, size, found, count, rest_t, rest_i, rest_row)
        for k in range(count):
            at = emitted + k
            while at > emitted and members[at - 1] > pool_row[found[k]]:
                members[at] = members[at - 1]
                at -= 1
            members[at] = pool_row[found[k]]
        emitted += count
        sizes[packs] = count
        packs += 1
        remaining -= 1
        pool_t, rest_t = rest_t, pool_t
        pool_i, rest_i = rest_i, pool_i
        pool_row, rest_row = rest_row, pool_row
        size = kept
    for k in range(size):
        left[k] = pool_row[k]
    return packs, size


fill = compiled(
    f"UniTuple(int64, 2)({_INTS}, {_INTS}, int64, int64, int64, int64, int64, int64, int64, {_INTS}, {_INTS}, {_INTS})",
    _fill,
)
