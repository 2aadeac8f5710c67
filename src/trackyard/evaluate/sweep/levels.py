"""Levels of the knobs: visual tokens, experts per token, decoder blocks. Source: nine-datasets spec section 5."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from math import floor
from typing import NamedTuple, TypeVar

from trackyard.errors import ConfigError

KNOBS = ("visual", "experts", "blocks")
T = TypeVar("T")


class Point(NamedTuple):
    """One level of each knob, None where the model lacks the knob. blocks: how many decoder blocks run."""

    visual: int | None
    experts: int | None
    blocks: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class KnobLevels:
    """Levels of each knob, rising; none where the model lacks the knob. blocks: counts, see `block_counts`.

    ConfigError for levels that do not rise.
    """

    visual: tuple[int, ...] = ()
    experts: tuple[int, ...] = ()
    blocks: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for name in KNOBS:
            levels: tuple[int, ...] = getattr(self, name)
            if list(levels) != sorted(set(levels)):
                raise ConfigError(
                    what=f"levels of the knob {name}: {', '.join(map(str, levels))}",
                    why="first, middle and last of a list mean something only where its levels rise",
                    fix=f"write knobs.{name} in rising order, each level once (params.yaml)",
                )

    @property
    def axes(self) -> tuple[tuple[int | None, ...], ...]:
        """Levels of visual, experts and blocks; a knob that the model lacks stands at None."""
        return (self.visual or (None,), self.experts or (None,), self.blocks or (None,))


def block_count(fraction: float, layers: int) -> int:
    """Blocks of a model of `layers` that a share of its depth means: floor(f * L + 1/2).

    The share counts as the decimal that was written: 0.145 of 100 is 15, though 0.145 * 100 is below 14.5 in binary.
    ConfigError unless the share is above 0 and at most 1, and leaves the first and the last block.
    """
    if not 0 < fraction <= 1:
        raise ConfigError(
            what=f"a depth of {fraction:g} of {layers} blocks",
            why="a level of the knob blocks is a share of the depth, above 0 and at most 1",
            fix="correct knobs.blocks in params.yaml, for example [0.75, 0.875, 1.0]",
        )
    count = floor(Fraction(str(fraction)) * layers + Fraction(1, 2))
    if count < min(2, layers):
        raise ConfigError(
            what=f"a depth of {fraction:g} of {layers} blocks, which is {count}",
            why="the first and the last block always run",
            fix=f"raise it to {2 / layers:.3g} or more in knobs.blocks of params.yaml",
        )
    return count


def block_counts(fractions: Iterable[float], layers: int) -> tuple[int, ...]:
    """Counts of blocks, rising; shares that mean the same count in so shallow a model are one level."""
    return tuple(sorted({block_count(fraction, layers) for fraction in fractions}))
