"""How many world tokens the layers with a sliding window still see from the end of a prompt.

A token `t` places back is within a window of `w` if t < w: of a block whose last token is t back, min(N_w, w - t) are.
Source: theworld spec section 5.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from trackyard.errors import ConfigError


def visible_tokens(tokens: int, distance: int, window: int) -> int:
    """Of a block of `tokens` whose last one is `distance` places before the query."""
    return min(tokens, max(0, window - distance))


@dataclass(frozen=True, kw_only=True, slots=True)
class WindowReport:
    """What a prompt's last token sees of its world tokens in `local` of `layers` layers; the others see all."""

    visible: int
    tokens: int
    distance: int
    """Of the last world token."""
    window: int
    local: int
    layers: int

    @property
    def share(self) -> float:
        """1.0 where nothing is hidden, and where there is nothing to hide."""
        return self.visible / self.tokens if self.tokens and self.local else 1.0

    def __str__(self) -> str:
        return (
            f"{self.visible:,} of {self.tokens:,} world tokens ({self.share:.1%}) are within the window of"
            f" {self.window:,} in {self.local} of {self.layers} layers, {self.distance} places before the answer"
        )

    def require(self, *, allow_invisible: bool = False) -> str | None:
        """A warning for a person if some are hidden; ConfigError if all are, unless that is allowed."""
        if self.share == 0 and not allow_invisible:
            raise ConfigError(
                what=str(self),
                why=f"{self.local} of {self.layers} layers would be trained and judged without the world tokens",
                fix="place the block after the image, choose a mode with fewer tokens, or set "
                "datacomp.world.allow_invisible_world in params.yaml",
            )
        return str(self) if self.share < 1 else None


def window_report(
    world_spans: Sequence[tuple[int, int]], prompt_len: int, *, window: int, layer_types: Sequence[str]
) -> WindowReport:
    """Of a prompt by the (first, one past the last) of its blocks. layer_types: of Gemma's text configuration."""
    last = prompt_len - 1
    visible = sum(visible_tokens(stop - start, last - (stop - 1), window) for start, stop in world_spans)
    return WindowReport(
        visible=visible,
        tokens=sum(stop - start for start, stop in world_spans),
        distance=last - (world_spans[-1][1] - 1) if world_spans else 0,
        window=window,
        local=sum(kind == "sliding_attention" for kind in layer_types),
        layers=len(layer_types),
    )
