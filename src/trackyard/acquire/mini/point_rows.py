"""Rows whose answer is points on images: pixmo-points, pixmo-count, cosyn-point, molmo2-multiimagepoint.

User and assistant texts are empty: the feed writes both from `meta.label` and `meta.points`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from trackyard.acquire.mini.charts import draw_chart
from trackyard.acquire.mini.draft import Box, Draft, ask, chance, pick, point, sample
from trackyard.acquire.mini.drawing import SQUARE, WIDE
from trackyard.acquire.mini.scene import (
    ALL_LOOKS,
    Item,
    Label,
    counted_looks,
    group_label,
    label_of,
    labels_of,
    picture,
    place,
)


def numbered(pictures: Sequence[tuple[Sequence[Box], tuple[int, int]]]) -> list[dict[str, Any]]:
    """Points at the boxes of each picture (boxes, size), from left to right; ids run on over the pictures."""
    points: list[dict[str, Any]] = []
    for media, (boxes, size) in enumerate(pictures):
        for box in sorted(boxes, key=lambda b: (b[0] + b[2], b[1] + b[3])):
            points.append(point(box, size, media=media, t=float(media + 1), id=len(points) + 1))
    return points


def fitting(label: Label, items: Sequence[Item]) -> list[Box]:
    """Boxes of the items that `label` names."""
    return [item.box for item in items if label.fits(item.look)]


def pointing(rng: np.random.Generator, index: int) -> Draft:
    """Two labels for each of one or two shapes; every twelfth row asks for something that is not there."""
    items = place(rng, sample(rng, ALL_LOOKS, 1 + index % 2))
    labels = list(dict.fromkeys(label for item in items for label in labels_of(rng, item.look)))
    if index % 12 == 0:
        labels[0] = _absent(rng, items)
    return Draft(
        media=(picture(rng, items),),
        conversations=tuple(ask("", "") for _ in labels),
        meta={
            "points": [numbered([(fitting(label, items), SQUARE)]) for label in labels],
            "label": [str(label) for label in labels],
        },
    )


def _absent(rng: np.random.Generator, items: Sequence[Item]) -> Label:
    missing = [look for look in ALL_LOOKS if all(look != item.look for item in items)]
    while True:  # ends: the label with colour and shape of a missing look fits nothing, and is one draw in three
        label = label_of(rng, pick(rng, missing))
        if not fitting(label, items):
            return label


def counting(rng: np.random.Generator, index: int) -> Draft:
    """One to four of a kind, each number equally often; one row in four has another shape, one in eight is wide."""
    count = 1 + index % 4
    label = group_label(rng)
    others = int(count < 4 and chance(rng, 0.25))
    size = WIDE if chance(rng, 0.125) else SQUARE
    items = place(rng, counted_looks(rng, label, count, others), size)
    return Draft(
        media=(picture(rng, items, size),),
        conversations=(ask("", ""),),
        meta={"points": [numbered([(fitting(label, items), size)])], "label": [str(label)]},
    )


def chart_pointing(rng: np.random.Generator, index: int) -> Draft:
    """A bar by its colour, or every fourth time by being the tallest or shortest."""
    chart, media = draw_chart(rng, 3 + index % 2)
    bar = pick(rng, chart.bars)
    label = f"the {bar.colour} bar"
    if chance(rng, 0.25):
        bar, label = pick(rng, ((chart.tallest, "the tallest bar"), (chart.shortest, "the shortest bar")))
    return Draft(
        media=(media,),
        conversations=(ask("", ""),),
        meta={"points": [numbered([([bar.box], SQUARE)])], "label": [label]},
    )


def multi_image_pointing(rng: np.random.Generator, index: int) -> Draft:
    """A label over two images with one or two shapes each; at least one shape fits."""
    scenes = [place(rng, sample(rng, ALL_LOOKS, int(rng.integers(1, 3)))) for _ in range(2)]
    label = label_of(rng, pick(rng, scenes[index % 2]).look)
    return Draft(
        media=tuple(picture(rng, items) for items in scenes),
        conversations=(ask("", ""),),
        meta={"points": [numbered([(fitting(label, items), SQUARE) for items in scenes])], "label": [str(label)]},
    )
