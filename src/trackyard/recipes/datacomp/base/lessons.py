"""What a made Gemma is taught: every form of question about a scene, and smaller ones that lead to them.

With the four words of a scene in the place of world tokens all answers are known. Without them only the forms that
are evaluated are taught, so that such a model knows how to answer and has to guess what.
Source: issue on the DataComp track (mini).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from trackyard.recipes.datacomp.scenes import (
    COLOURS,
    EMPTY,
    KINDS,
    PLACES,
    QUESTION,
    Scene,
    blink,
    qualitative,
    quantitative,
    vsr,
)

Form = Literal["caption", "vsr", "blink", "qualitative", "quantitative", "place"]
STEPPING_STONES: tuple[Form, ...] = ("place",)
"""Forms that nothing is evaluated with: what is where."""
WORDS = (*COLOURS, EMPTY)
"""What a quarter of a picture may be: each has to be one token, with its leading space."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Lesson:
    """A question about a scene with its right answer."""

    form: Form
    question: str
    answer: str


def contents() -> list[Scene]:
    """Every scene that there may be, once; how it is drawn does not matter here."""
    return [Scene(first=a, second=b, relation=relation, variant=n, number=0) for a, b, relation, n in KINDS]


def lessons(of: Scene) -> Mapping[Form, list[Lesson]]:
    """All of a scene, by form."""
    found: dict[Form, list[Lesson]] = {}
    for form, question, answer in _lessons(of):
        found.setdefault(form, []).append(Lesson(form=form, question=question, answer=answer))
    return found


def _lessons(of: Scene) -> Iterator[tuple[Form, str, str]]:
    yield "caption", QUESTION, of.caption
    for flag in (True, False):
        asked = {
            "vsr": vsr(of, true=flag),
            "blink": blink(of, swapped=flag),
            "qualitative": qualitative(of, true=flag),
        }
        for form, one in asked.items():
            yield form, one.question, one.answer  # type: ignore[misc]
    distance = quantitative(of)
    yield "quantitative", distance.question, distance.answer
    for place, word in zip(PLACES, of.cells, strict=True):
        yield "place", f"What is at the {place}?", word
