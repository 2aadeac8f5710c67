"""A thing that can be published: the files that stock libraries load, what is written beside them, and its card."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from trackyard.publish.card import CardFacts
from trackyard.recipes.publishing.record import Recorded

STANDALONE = Path(__file__).parent / "standalone"


@dataclass(frozen=True, kw_only=True, slots=True)
class Publication:
    """files: by name in the published folder, what is copied. texts: likewise, what is written.

    write: makes files that are no copies, below the folder it is given.
    """

    name: str
    recorded: Recorded
    facts: CardFacts
    files: Mapping[str, Path]
    texts: Mapping[str, str] = field(default_factory=dict)
    write: Callable[[Path], None] | None = None


def standalone(name: str) -> str:
    """Source of a file that runs without this project."""
    return (STANDALONE / name).read_text()


def printed(name: str) -> str:
    """That file as a card shows it."""
    return f"```python\n{standalone(name)}```"
