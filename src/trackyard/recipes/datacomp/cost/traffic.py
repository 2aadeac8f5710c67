"""What the track brings over the network, and what it sends. Source: theworld spec sections 2, 7 and 10."""

from __future__ import annotations

from dataclasses import dataclass

from trackyard.recipes.datacomp.cost.arithmetic import ORIGINAL_BYTES, POOL, rows_of
from trackyard.recipes.datacomp.cost.bases import VAE_PARAMETERS, base_of
from trackyard.recipes.datacomp.parameters import DatacompParameters

METADATA_BYTES = 3_000_000_000
"""Of the pool's tables."""
PUBLISHED_ITEMS = {"blink": 1_901, "vsr": 2_195 + 616, "spatial": 1_406, "captions": 1_181}
"""Of each evaluation set; captions are the true statements of VSR's random test split."""
PICTURES = {"blink": 2.0, "vsr": 1.0, "spatial": 1.0, "captions": 1.0}
"""Of an item; up to four in BLINK."""
PICTURE_BYTES = 300_000
"""Of an evaluation picture, at most, on average; assumed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Traffic:
    """Bytes. rows: asked for; incoming: by what they are; outgoing: of pushes."""

    rows: int
    incoming: dict[str, int]
    outgoing: int

    @property
    def total(self) -> int:
        return sum(self.incoming.values())


def rows_asked(parameters: DatacompParameters) -> int:
    """Rows that N samples are expected to need; not more than there are."""
    data = parameters.data
    there = data.source.mini_rows if data.source.kind == "mini" else POOL
    return min(rows_of(data.samples, data.planned_acceptance), there)


def items_of(parameters: DatacompParameters) -> dict[str, int]:
    """Of each evaluation set that is scored."""
    asked = parameters.evaluation
    found = {name: asked.made_items if asked.source == "made" else PUBLISHED_ITEMS[name] for name in asked.sets}
    return {name: count if asked.limit is None else min(count, asked.limit) for name, count in found.items()}


def evaluation_pictures(parameters: DatacompParameters) -> int:
    return round(sum(count * PICTURES[name] for name, count in items_of(parameters).items()))


def traffic(parameters: DatacompParameters, trained: int) -> Traffic:
    """trained: parameters of an export. Pictures count at the size in which they are delivered; nothing of the mini
    source leaves this machine."""
    data, rows = parameters.data, rows_asked(parameters)
    incoming: dict[str, int] = {}
    if data.source.kind == "hub":
        incoming["tables of the pool"] = METADATA_BYTES
    if data.source.kind != "mini":
        incoming["pictures"] = round(rows * data.planned_acceptance) * ORIGINAL_BYTES
    if parameters.gemma.made is None:
        base = base_of(parameters.gemma)
        incoming["language model"] = 2 * (base.vision + base.language)
    if parameters.vae.made is None:
        incoming["image VAE"] = 4 * VAE_PARAMETERS["all"]
    if parameters.evaluation.source == "hub":
        incoming["evaluation sets"] = evaluation_pictures(parameters) * PICTURE_BYTES
    pushes = len(parameters.trained_cells) if parameters.publish.repo else 0
    return Traffic(rows=rows, incoming=incoming, outgoing=pushes * 4 * trained)
