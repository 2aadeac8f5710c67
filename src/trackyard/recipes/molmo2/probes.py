"""One batch for each kind of input, and the same batch with that input changed: what the audit compares.

Source: issue on the training engine (audits); theworld spec section 18: a branch that was never connected trains on in
silence.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from trackyard.feed.batch import Batch
from trackyard.feed.steps import SPLIT, PlanFeed
from trackyard.snapshot.reader import SnapshotDataset

SEARCHED_STEPS = 16
"""Steps at the beginning of the plan in which each kind of input is looked for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Probe:
    """A batch, and the same with one input changed."""

    batch: Batch
    changed: Batch


def probes(feed: PlanFeed, datasets: Mapping[str, SnapshotDataset], *, vocabulary: int) -> dict[str, Probe]:
    """By kind of input (image, video, text), where this rank's share of the first steps has it.

    vocabulary: text ids below it are exchanged for others.
    """
    found: dict[str, Probe] = {}
    for step in range(min(SEARCHED_STEPS, feed.plan.steps)):
        for index in range(feed.micro_batches):
            part = feed.micro_batch(step, index)
            for row in part.facts.rows:
                kinds = {medium.kind for medium in datasets[row.dataset].row(SPLIT, row.row).media}
                for kind in kinds - found.keys() if len(part.batch.visual.grids) else set():
                    found[kind] = Probe(batch=part.batch, changed=_other_pixels(part.batch))
            if "text" not in found:
                found["text"] = Probe(batch=part.batch, changed=_other_words(part.batch, vocabulary))
            if len(found) == 3:
                return found
    return found


def _other_pixels(batch: Batch) -> Batch:
    return replace(batch, visual=replace(batch.visual, patches=255 - np.asarray(batch.visual.patches)))


def _other_words(batch: Batch, vocabulary: int) -> Batch:
    """Every token of text becomes another one; targets, which are a field of their own, stay."""
    ids = np.asarray(batch.input_ids)
    return replace(batch, input_ids=np.where(ids < vocabulary, (ids + vocabulary // 2) % vocabulary, ids))
