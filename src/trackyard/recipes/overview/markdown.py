"""Sections of the report as Markdown, for the repository: figures are PNG files beside it.

Texts mean what they mean on the page: outside of `code` nothing in them is markup, whatever a name holds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from trackyard.recipes.overview.blocks import Block, Bullets, Caveat, Command, Folded, Picture, Section, Table, Text
from trackyard.recipes.reporting.grid import Grid

FIGURES = "figures"
_CODE = re.compile(r"(`[^`]+`)")
_MARKUP = re.compile(r"[\\*<~`]|_(?!\w)|(?<!\w)_|\](?=[(\[])|^(?:[#>]|[-+] )|!(?=\[)|&(?=#?\w+;)")
"""What would begin markup. Brackets of intervals and underscores inside of names do not."""
_IN_ALT = re.compile(r"[\\*<>`\[\]]")


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
    yield from (f"{'#' * level} {_words(section.title)}", "")
    for block in section.blocks:
        yield from _block(block)
    for part in section.parts:
        yield from _section(part, level + 1)


def _block(block: Block) -> Iterator[str]:
    match block:
        case Text(words):
            yield from (_words(words), "")
        case Caveat(words):
            yield from (f"> {_words(words)}", "")
        case Bullets(items):
            yield from (f"- {_words(item)}" for item in items)
            yield ""
        case Command(lines):
            yield from ("```bash", *lines, "```", "")
        case Table(grid, wordy, _):
            header, *rows = (tuple(map(_words, texts)) for texts in (grid.header, *grid.rows))
            shown = Grid(title=grid.title, header=header, rows=tuple(rows))
            yield from (_words(f"{grid.title[:1].upper()}{grid.title[1:]}:"), "", *shown.markdown(wordy), "")
        case Picture():
            if block.png is not None:
                alt = _IN_ALT.sub(r"\\\g<0>", " ".join(block.alt.split()))
                yield from (f"![{alt}]({FIGURES}/{block.name}.png)", "", _words(block.caption), "")
        case Folded(title, blocks):
            yield from (f"**{_words(title)}**", "")
            for inner in blocks:
                yield from _block(inner)


def _words(text: str) -> str:
    """On one line: a text is one paragraph, and a line of its own could begin a list or a heading."""
    parts = _CODE.split(" ".join(text.split()))
    return "".join(part if place % 2 else _MARKUP.sub(r"\\\g<0>", part) for place, part in enumerate(parts))
