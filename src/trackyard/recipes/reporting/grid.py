"""A table of texts: for a terminal, and as Markdown."""

from __future__ import annotations

from collections.abc import Collection, Sequence
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

    def markdown(self, words: Collection[int] = ()) -> list[str]:
        """Lines of a Markdown table, without the title. words: columns that stand at the left, beside the first one."""
        rule = tuple("---" if place == 0 or place in words else "---:" for place in range(len(self.header)))
        lines = [self.header, rule, *self.rows]
        return [f"| {' | '.join(map(_cell, texts))} |" for texts in lines]


def _cell(text: str) -> str:
    """A bar would begin another cell, the end of a line another row."""
    return " ".join(text.split()).replace("|", "\\|")
