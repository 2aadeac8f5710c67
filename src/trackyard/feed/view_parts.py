"""The values that a page of packs is made of: pictures, rows and packs, as a person reads them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from trackyard.feed.view_drawing import Crop
from trackyard.feed.view_points import Mark
from trackyard.feed.view_text import Block


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """One image or frame as the model is given it. width, height: pixels of the source, whose aspect it is shown in."""

    caption: str
    uri: str
    width: int
    height: int
    crops: tuple[Crop, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class RowView:
    """One row of a pack. number: in its split; start: its first token in the pack.

    reason: why the row teaches nothing, None where it does. notes: what was dropped or changed, by reason. labels: what
    each branch's points show. loss_weight: sum over its targets. kind: of its media.
    """

    dataset: str
    task: str
    id: str
    number: int
    epoch: int | None
    start: int
    tokens: int
    visual: int
    inputs: int
    targets: int
    loss_weight: float
    kind: str = "text"
    reason: str | None = None
    notes: Mapping[str, int] = field(default_factory=dict)
    blocks: tuple[Block, ...] = ()
    pictures: tuple[Picture, ...] = ()
    marks: tuple[Mark, ...] = ()
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class PackView:
    """One sequence. max_tokens, max_inputs: budgets of a pack. length: of the sequence with its padding.

    mask: data URI of its attention. alone: a row for itself, which is not packed.
    """

    title: str
    max_tokens: int
    max_inputs: int
    length: int
    alone: bool
    rows: tuple[RowView, ...]
    mask: str | None

    @property
    def tokens(self) -> int:
        return sum(row.tokens for row in self.rows)

    @property
    def inputs(self) -> int:
        return sum(row.inputs for row in self.rows)
