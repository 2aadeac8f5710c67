"""Which combinations of knob levels are measured. Source: nine-datasets spec section 5."""

from __future__ import annotations

from itertools import product
from typing import Literal, get_args

from trackyard.errors import ConfigError
from trackyard.evaluate.sweep.hypercube import hypercube
from trackyard.evaluate.sweep.levels import KnobLevels, Point

Strategy = Literal["full", "balanced", "stratified", "boundary", "custom_sparse", "lhs"]
STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)


def points(levels: KnobLevels, strategy: Strategy, *, number: int = 18, seed: int = 0) -> tuple[Point, ...]:
    """The combinations of a strategy, each once, visual slowest and blocks fastest.

    number, seed: of the Latin hypercube; the other strategies have the points that they have.
    ConfigError for an unknown strategy, or more points of a hypercube than there are combinations.
    """
    axes = levels.axes
    sizes = [len(axis) for axis in axes]
    if strategy == "lhs":
        chosen = hypercube(sizes, number, seed=seed)
    elif strategy in STRATEGIES:
        chosen = list(product(*(_chosen(strategy, axis, size) for axis, size in enumerate(sizes))))
    else:
        raise ConfigError(
            what=f"the strategy {strategy!r}",
            why=f"there are {', '.join(STRATEGIES)}",
            fix="correct knobs.strategy in params.yaml",
        )
    return tuple(Point(*(axis[at] for axis, at in zip(axes, point, strict=True))) for point in chosen)


def _chosen(strategy: Strategy, axis: int, size: int) -> list[int]:
    """Positions of a list of `size` levels that take part; axis 1 is that of experts."""
    if strategy == "full":
        return list(range(size))
    if strategy == "custom_sparse":
        return list(range(0, size, 2))
    quarters = (size // 4, 3 * size // 4) if strategy == "boundary" and axis == 1 else ()
    return sorted({0, size // 2, size - 1, *quarters})
