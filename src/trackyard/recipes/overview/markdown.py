"""Sections of the report as Markdown, for the repository: figures are PNG files beside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from trackyard.recipes.overview.blocks import Block, Bullets, Caveat, Command, Folded, Picture, Section, Table, Text

FIGURES = "figures"


def markdown(title: str, sections: Sequence[Section]) -> str:
    """The whole file. A picture without a PNG is on the page only."""
    lines = [f"# {title}", ""]
    for section in sections:
        lines += _section(section, level=2)
    return "\n".join(lines).rstrip() + "\n"


def pictures(sections: Sequence[Section]) -> Iterator[Picture]:
    """All pictures, in the order of the report."""
    for section in sections:
        yield from _pictures(section.blocks)
        yield from pictures(section.parts)


def _pictures(blocks: Sequence[Block]) -> Iterator[Picture]:
    for block in blocks:
        if isinstance(block, Picture):
            yield block
        elif isinstance(block, Folded):
            yield from _pictures(block.blocks)


def _section(section: Section, level: int) -> Iterator[str]:
    yield from (f"{'#' * level} {section.title}", "")
    for block in section.blocks:
        yield from _block(block)
    for part in section.parts:
        yield from _section(part, level + 1)


def _block(block: Block) -> Iterator[str]:
    match block:
        case Text(words):
            yield from (words, "")
        case Caveat(words):
            yield from (f"> {words}", "")
        case Bullets(items):
            yield from (f"- {item}" for item in items)
            yield ""
        case Command(lines):
            yield from ("```bash", *lines, "```", "")
        case Table(grid):
            # A bar would begin a cell.
            safe = tuple(tuple(text.replace("|", "\\|") for text in row) for row in grid.rows)
            yield from (f"{grid.title[:1].upper()}{grid.title[1:]}:", "", *replace(grid, rows=safe).markdown(), "")
        case Picture():
            if block.png is not None:
                yield from (f"![{block.alt}]({FIGURES}/{block.name}.png)", "", f"{block.caption}", "")
        case Folded(title, blocks):
            yield from (f"**{title}**", "")
            for inner in blocks:
                yield from _block(inner)
