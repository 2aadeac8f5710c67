"""How a configuration looks in every figure: colour by visual level, marker by experts, size by blocks.

Colours are steps of viridis, which rises in lightness and keeps its order for colour-blind readers and in print; its
brightest fifth is left out, since it vanishes on white. Source: nine-datasets spec section 9.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from trackyard.recipes.nine.report.measured import Measurement

VIRIDIS = ("#440154", "#3e4989", "#26828e", "#35b779", "#a5c936")
"""From few visual tokens to many."""
MARKERS = (
    ("o", "circle"),
    ("s", "square"),
    ("^", "triangle-up"),
    ("D", "diamond"),
    ("v", "triangle-down"),
    ("P", "cross"),
)
"""As matplotlib and as plotly name them, from few experts to many."""
SMALLEST, LARGEST = 5.0, 11.0
"""Diameters in points, from few blocks to many."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Marks:
    """Levels that occur, rising; empty where the model lacks the knob."""

    visual: tuple[int, ...]
    experts: tuple[int, ...]
    depths: tuple[int, ...]

    @classmethod
    def of(cls, results: Iterable[Measurement]) -> Marks:
        found = [result.configuration for result in results]
        return cls(
            visual=_levels(each.visual for each in found),
            experts=_levels(each.experts for each in found),
            depths=_levels(each.depth for each in found),
        )

    def colour(self, level: int | None) -> str:
        if level is None:
            return VIRIDIS[0]
        return _blend(_share(self.visual, level))

    def marker(self, level: int | None) -> tuple[str, str]:
        """Of matplotlib and of plotly. Levels beyond the list begin it anew; tables and hovering tell them apart."""
        return MARKERS[0 if level is None else self.experts.index(level) % len(MARKERS)]

    def diameter(self, depth: int | None) -> float:
        if depth is None:
            return (SMALLEST + LARGEST) / 2
        return SMALLEST + (LARGEST - SMALLEST) * _share(self.depths, depth)


def _levels(found: Iterable[int | None]) -> tuple[int, ...]:
    return tuple(sorted({level for level in found if level is not None}))


def _share(levels: tuple[int, ...], level: int) -> float:
    return levels.index(level) / (len(levels) - 1) if len(levels) > 1 else 0.5


def _blend(share: float) -> str:
    """The colour at a share of the way through `VIRIDIS`."""
    at = share * (len(VIRIDIS) - 1)
    low = min(int(at), len(VIRIDIS) - 2)
    pairs = zip(_channels(VIRIDIS[low]), _channels(VIRIDIS[low + 1]), strict=True)
    return "#" + "".join(f"{round(a + (b - a) * (at - low)):02x}" for a, b in pairs)


def _channels(colour: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(colour[1:]))
