"""A table of texts: for a terminal, and as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Grid:
    """A table of texts. All columns but the first are numbers, and stand at the right."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def plain(self) -> list[str]:
        """Lines for a terminal."""
        widths = [max(map(len, column)) for column in zip(self.header, *self.rows, strict=True)]

        def line(texts: Sequence[str]) -> str:
            first, *others = (
                text.ljust(width) if place == 0 else text.rjust(width)
                for place, (text, width) in enumerate(zip(texts, widths, strict=True))
            )
            return "  ".join([first, *others]).rstrip()

        rule = "  ".join("-" * width for width in widths)
        return [self.title, line(self.header), rule, *map(line, self.rows)]

    def markdown(self) -> list[str]:
        """Lines of a Markdown table, without the title."""
        lines = [self.header, ("---", *["---:"] * (len(self.header) - 1)), *self.rows]
        return [f"| {' | '.join(texts)} |" for texts in lines]
