"""What a section of the report is made of. The page and the Markdown are written from the same blocks.

Texts may hold `code` in backticks, and nothing else that is marked up.
"""

from __future__ import annotations

from dataclasses import dataclass

from trackyard.recipes.reporting.grid import Grid


@dataclass(frozen=True, slots=True)
class Text:
    """A paragraph."""

    words: str


@dataclass(frozen=True, slots=True)
class Caveat:
    """A paragraph without which the numbers below it would be misread."""

    words: str


@dataclass(frozen=True, slots=True)
class Bullets:
    items: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Command:
    """Something to type. lines: one command each."""

    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """wordy: columns that hold words, not numbers, by their place; the first one always does. wide: columns whose texts
    are long and may be wrapped."""

    grid: Grid
    wordy: frozenset[int] = frozenset()
    wide: frozenset[int] = frozenset()


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """A figure. name: unique in the report, its file name in figures/. caption: what is drawn and how to read it.

    alt: what a person who cannot see it should know. svg: the drawing. png: the same, None where only the page has it.
    """

    name: str
    caption: str
    alt: str
    svg: str
    png: bytes | None


@dataclass(frozen=True, slots=True)
class Folded:
    """Blocks that a reader opens; open in print and in the Markdown."""

    title: str
    blocks: tuple[Block, ...]


Block = Text | Caveat | Bullets | Command | Table | Picture | Folded


@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """anchor: its id. parts: sections inside it."""

    anchor: str
    title: str
    blocks: tuple[Block, ...] = ()
    parts: tuple[Section, ...] = ()
