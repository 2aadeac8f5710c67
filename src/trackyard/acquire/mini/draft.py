"""What a builder draws for one row, before the dataset gives it an id; and the random numbers of that row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from blake3 import blake3

from trackyard.digest import canonical_json
from trackyard.row import Media, Turn

Box = tuple[int, int, int, int]
"""Left, top, right, bottom in whole pixels; right and bottom are exclusive."""

Conversation = tuple[Turn, ...]
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Draft:
    """The media, conversations and meta of one row."""

    media: tuple[Media, ...] = ()
    conversations: tuple[Conversation, ...]
    meta: dict[str, Any] = field(default_factory=dict)


Builder = Callable[[np.random.Generator, int], Draft]
"""Draws row `index` from its own random numbers. The index itself only balances: counts, directions, letters."""


def random_of(*key: int | str) -> np.random.Generator:
    """Random numbers of one row: a function of `key` alone, so rows never depend on the order of generation."""
    return np.random.Generator(np.random.Philox(key=int.from_bytes(blake3(canonical_json(key)).digest(16), "little")))


def pick(rng: np.random.Generator, items: Sequence[T]) -> T:
    """One of `items`, as it is (numpy's `choice` would turn texts into numpy texts)."""
    return items[int(rng.integers(len(items)))]


def sample(rng: np.random.Generator, items: Sequence[T], count: int) -> list[T]:
    """`count` different entries of `items`, in random order."""
    return [items[int(i)] for i in rng.permutation(len(items))[:count]]


def chance(rng: np.random.Generator, probability: float) -> bool:
    """True with `probability`."""
    return bool(rng.random() < probability)


def ask(question: str, answer: str) -> Conversation:
    """One question and its answer. Either may be empty: the feed then writes it from the template or the meta."""
    return (Turn(role="user", content=question), Turn(role="assistant", content=answer))


def point(box: Box, size: tuple[int, int], *, media: int, t: float, id: int, occluded: bool = False) -> dict[str, Any]:
    """One entry of `meta.points`: the centre and the extent of a drawn thing as fractions of width and height."""
    (left, top, right, bottom), (width, height) = box, size
    return {
        "media": media,
        "t": t,
        "id": id,
        "x": (left + right) / 2 / width,
        "y": (top + bottom) / 2 / height,
        "occluded": occluded,
        "box": [left / width, top / height, right / width, bottom / height],
    }
