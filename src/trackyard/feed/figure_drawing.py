"""A small SVG: shapes and words in a fixed order, so that one figure is always the same bytes. For light and dark.

Lengths are in pixels of the figure at its natural size, x to the right, y downwards.
"""

from __future__ import annotations

from html import escape
from typing import Literal

_STYLE = (
    "text{font:13px system-ui,'Segoe UI',Roboto,'DejaVu Sans',sans-serif;fill:#1d2025}"
    ".faint{fill:#666b73}.small{font-size:11px}.head{font-size:15px;font-weight:600}.on{fill:#fff}"
    ".line{stroke:#8a8f98;fill:none}.box{fill:#f1f1ee;stroke:#c9c9c3}.none{fill:#efefeb}"
    "@media(prefers-color-scheme:dark){text{fill:#e7e8ea}.faint{fill:#9aa0a8}.on{fill:#fff}"
    ".box{fill:#24282d;stroke:#454b54}.none{fill:#262a2f}}"
)
Anchor = Literal["start", "middle", "end"]


def _number(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")


class Drawing:
    """One figure of `width` x `height`. title: what it shows, for those who cannot see it."""

    def __init__(self, width: int, height: int, title: str) -> None:
        self._head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
            f'role="img"><title>{escape(title)}</title><style>{_STYLE}</style>'
        )
        self._shapes: list[str] = []

    def text(self, x: float, y: float, words: str, *, style: str = "", anchor: Anchor = "start") -> None:
        """Words whose base line is at y. style: names of classes."""
        where = f'x="{_number(x)}" y="{_number(y)}" text-anchor="{anchor}"'
        self._shapes.append(f'<text {where} class="{style}">{escape(words)}</text>')

    def rect(
        self, x: float, y: float, width: float, height: float, *, fill: str = "", opacity: float = 1.0, style: str = ""
    ) -> None:
        """fill: a colour; without one, the style decides."""
        where = f'x="{_number(x)}" y="{_number(y)}" width="{_number(width)}" height="{_number(height)}" rx="2"'
        paint = f' fill="{fill}" fill-opacity="{_number(opacity)}"' if fill else ""
        self._shapes.append(f'<rect {where} class="{style}"{paint}/>')

    def line(self, *points: tuple[float, float], arrow: bool = False, colour: str = "") -> None:
        """A line through points, with a head at the last one if `arrow`."""
        path = "M" + " L".join(f"{_number(x)} {_number(y)}" for x, y in points)
        paint = f' style="stroke:{colour}"' if colour else ""
        self._shapes.append(f'<path d="{path}" class="line"{paint}/>')
        if arrow:
            (x0, y0), (x1, y1) = points[-2:]
            length = max(abs(x1 - x0) + abs(y1 - y0), 1e-9)
            dx, dy = (x1 - x0) / length * 6, (y1 - y0) / length * 6
            left, right = (x1 - dx - dy / 2, y1 - dy + dx / 2), (x1 - dx + dy / 2, y1 - dy - dx / 2)
            self.line(left, (x1, y1), right, colour=colour)

    def dot(self, x: float, y: float, radius: float, fill: str) -> None:
        self._shapes.append(f'<circle cx="{_number(x)}" cy="{_number(y)}" r="{_number(radius)}" fill="{fill}"/>')

    def svg(self) -> str:
        """The document."""
        return "\n".join([self._head, *self._shapes, "</svg>"]) + "\n"
