"""Rows whose answer is text about images: captions, documents, charts, signs, counts, choices, several images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from trackyard.acquire.mini.charts import draw_chart
from trackyard.acquire.mini.documents import draw_form, draw_sign
from trackyard.acquire.mini.draft import Conversation, Draft, ask, chance, pick, sample
from trackyard.acquire.mini.drawing import COLOURS, SHAPES, SQUARE, TALL, WIDE
from trackyard.acquire.mini.scene import (
    ALL_LOOKS,
    Item,
    Look,
    caption,
    counted_looks,
    group_label,
    picture,
    place,
)


def captioning(rng: np.random.Generator, index: int) -> Draft:
    """A regular caption of one to four shapes; one row in four is wide or tall."""
    size = pick(rng, (SQUARE, SQUARE, SQUARE, SQUARE, SQUARE, SQUARE, WIDE, TALL))
    items = place(rng, sample(rng, ALL_LOOKS, 1 + index % 4), size)
    return Draft(media=(picture(rng, items, size),), conversations=(ask("", caption(items, size)),))


def document(rng: np.random.Generator, index: int) -> Draft:
    """The value of one key of a two-line form."""
    form, media = draw_form(rng)
    key, value = form.fields[index % 2]
    return Draft(media=(media,), conversations=(ask(f"What is the {key.lower()}?", value),))


def chart(rng: np.random.Generator, index: int) -> Draft:
    """The colour of the tallest or shortest bar, or the number of bars; one chart in four is wide."""
    drawn, media = draw_chart(rng, 3 + index // 3 % 2, WIDE if chance(rng, 0.25) else SQUARE)
    question = (
        ("Which bar is the tallest?", drawn.tallest.colour),
        ("Which bar is the shortest?", drawn.shortest.colour),
        ("How many bars are there?", str(len(drawn.bars))),
    )[index % 3]
    return Draft(media=(media,), conversations=(ask(*question),))


def sign(rng: np.random.Generator, index: int) -> Draft:
    """The word on a sign, or every fourth time its colour."""
    drawn, media = draw_sign(rng)
    if index % 4 == 3:
        return Draft(media=(media,), conversations=(ask("What colour is the sign?", drawn.colour),))
    return Draft(media=(media,), conversations=(ask("What word is on the sign?", drawn.word),))


def tally(rng: np.random.Generator, index: int) -> Draft:
    """How many of a kind: zero to four, each equally often; one row in four has another shape, one in eight is wide."""
    count = index % 5
    label = group_label(rng)
    others = int(count < 4 and chance(rng, 0.25))
    size = WIDE if chance(rng, 0.125) else SQUARE
    items = place(rng, counted_looks(rng, label, count, others), size)
    question = f"How many {label} are there?"
    return Draft(media=(picture(rng, items, size),), conversations=(ask(question, str(count)),))


def options_with(rng: np.random.Generator, answer: str, others: Sequence[str], index: int) -> tuple[list[str], int]:
    """Four options with `answer` at place index mod 4, and that place: every letter is right equally often."""
    options = sample(rng, [other for other in others if other != answer], 3)
    options.insert(index % 4, answer)
    return options, index % 4


def choice(rng: np.random.Generator, index: int) -> Draft:
    """Four options, in alphabetical order, for the colour or the number of shapes; each letter is right equally often.

    The assistant text is the feed's to write.
    """
    right = index % 4
    if index // 4 % 2:
        options = ["1", "2", "3", "4"]
        question, looks = "How many shapes are there?", [pick(rng, ALL_LOOKS) for _ in range(right + 1)]
    else:
        options = sorted(COLOURS)
        shape = pick(rng, SHAPES)
        question, looks = f"What colour is the {shape}?", [Look(options[right], shape)]
    return Draft(
        media=(picture(rng, place(rng, looks)),),
        conversations=(ask(question, ""),),
        meta={"options": [options], "answer_index": [right]},
    )


def three_questions(rng: np.random.Generator, index: int) -> Draft:
    """Three of: colour, shape, number, presence of a given shape (yes and no equally often)."""
    items = _distinct(rng, 1 + index % 3)
    asked = pick(rng, items).look
    named = pick(rng, items).look
    present = index // 3 % 2 == 0
    sought = named if present else pick(rng, [look for look in ALL_LOOKS if all(look != i.look for i in items)])
    questions: tuple[Conversation, ...] = (
        ask(f"What colour is the {asked.shape}?", asked.colour),
        ask(f"What shape is {named.colour}?", named.shape),
        ask("How many shapes are there?", str(len(items))),
        ask(f"Is there a {sought}?", "yes" if present else "no"),
    )
    return Draft(media=(picture(rng, items),), conversations=tuple(sample(rng, questions, 3)))


def _distinct(rng: np.random.Generator, count: int) -> list[Item]:
    """Items of different colours and different shapes, so that either names one of them."""
    pairs = zip(sample(rng, tuple(COLOURS), count), sample(rng, SHAPES, count), strict=True)
    return place(rng, [Look(colour, shape) for colour, shape in pairs])


def which_image(rng: np.random.Generator, index: int) -> Draft:
    """Two or three images of one shape each; the number of the one that shows a given shape."""
    images, right = ((2, 0), (3, 2), (2, 1), (3, 0), (3, 1))[index % 5]
    looks = sample(rng, ALL_LOOKS, images)
    return Draft(
        media=tuple(picture(rng, place(rng, [look])) for look in looks),
        conversations=(ask(f"Which image shows a {looks[right]}?", f"Image {right + 1}"),),
    )
