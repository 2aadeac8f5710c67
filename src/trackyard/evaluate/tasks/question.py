"""A question of a task, whatever data set it comes from. Source: nine-datasets spec sections 1 and 6."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from trackyard.row import Media


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """One thing to be answered, with everything that its scorers need.

    id: `dataset:split:name`, the same on every rank and machine. question: as the data set words it, without its
    options. references: accepted answers, or the captions of an image. answer_index: of the right option. cluster: what
    is drawn together when samples are drawn anew (an image with several questions); the id where it stands alone.
    groups: kinds for breakdowns, as subject or difficulty. truth: what answers are measured against where that is no
    text: points, regions, clip.
    """

    id: str
    question: str
    media: tuple[Media, ...] = ()
    options: tuple[str, ...] = ()
    references: tuple[str, ...] = ()
    answer_index: int | None = None
    cluster: str = ""
    groups: Mapping[str, str] = field(default_factory=dict)
    truth: Mapping[str, Any] = field(default_factory=dict)

    @property
    def drawn_with(self) -> str:
        """What is drawn together with it."""
        return self.cluster or self.id


class Questions(Protocol):
    """The questions of a task, in the order of their data set; media are read when a question is asked for.

    digest: of everything that decides the questions.
    """

    @property
    def ids(self) -> Sequence[str]: ...

    @property
    def digest(self) -> str: ...

    def __len__(self) -> int: ...

    def __getitem__(self, number: int) -> Question: ...

    def bare(self, number: int) -> Question:
        """The question without its media, which are not read: all that scores and intervals need."""
