"""Latin hypercubes over lists of levels: every level of a list occurs as often as any other, up to one.

Columns are permuted independently (McKay, Beckman & Conover 1979); points that came out twice are swapped apart, which
changes no count. Source: nine-datasets spec section 5.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import product
from math import prod

import numpy as np

from trackyard.digest import digest_json
from trackyard.errors import ConfigError

At = tuple[int, ...]


def hypercube(sizes: Sequence[int], number: int, *, seed: int) -> list[At]:
    """`number` distinct points over lists of `sizes` levels, as positions, sorted; the same for the same arguments.

    Each level occurs floor or ceil(number / size) times. ConfigError for no point, or more than there are combinations.
    """
    all_of_them = prod(sizes)
    if not 1 <= number <= all_of_them:
        raise ConfigError(
            what=f"a Latin hypercube of {number} points over {' x '.join(map(str, sizes))} levels",
            why=f"there are {all_of_them} combinations, and a point is measured once",
            fix=f"set knobs.points in params.yaml between 1 and {all_of_them}",
        )
    # What a hypercube leaves out is one too. Of the two the smaller has room to swap repeated points apart.
    fewer = min(number, all_of_them - number)
    key = digest_json(["trackyard-hypercube", list(sizes), number, seed])
    rng = np.random.Generator(np.random.Philox(key=int(key[:32], 16)))
    rows = _apart([_column(size, fewer, rng) for size in sizes], rng)
    if fewer == number:
        return sorted(rows)
    return [point for point in product(*map(range, sizes)) if point not in set(rows)]


def _column(size: int, number: int, rng: np.random.Generator) -> list[int]:
    """Levels of one list, in random order; which of them occur once more than others is drawn too."""
    more = rng.permutation(size)[: number % size]
    return [int(level) for level in rng.permutation([*np.tile(np.arange(size), number // size), *more])]


def _apart(columns: Sequence[list[int]], rng: np.random.Generator) -> list[At]:
    """Rows of the columns after swaps within columns, until no row is there twice."""
    rows = [list(row) for row in zip(*columns, strict=True)]
    held = Counter(map(tuple, rows))
    while len(held) < len(rows):
        one = next(at for at, row in enumerate(rows) if held[tuple(row)] > 1)
        swaps = [(other, column) for column in range(len(columns)) for other in range(len(rows))]
        for at in rng.permutation(len(swaps)):
            other, column = swaps[at]
            before = len(held)
            _swap(rows, held, one, other, column)
            if len(held) > before:
                break
            _swap(rows, held, one, other, column)
        else:
            # No single swap helps: one at random leads out of here.
            _swap(rows, held, one, *swaps[int(rng.integers(len(swaps)))])
    return [tuple(row) for row in rows]


def _swap(rows: list[list[int]], held: Counter[At], one: int, other: int, column: int) -> None:
    """Exchange the levels of two rows in one column; `held` counts rows that are there, and only those."""
    for at in {one, other}:
        row = tuple(rows[at])
        held[row] -= 1
        if not held[row]:
            del held[row]
    rows[one][column], rows[other][column] = rows[other][column], rows[one][column]
    for at in {one, other}:
        held[tuple(rows[at])] += 1
