"""A plan over three small datasets, one of whose rows does not decode, shared by the tests of what reads plans."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from tests.tiny_molmo2 import LENGTH, feed, tokens
from trackyard.acquire.mini.datasets import MINI
from trackyard.feed.batch import Batch
from trackyard.feed.sample import measure
from trackyard.feed.steps import PlanFeed
from trackyard.plan.build import build_plan
from trackyard.plan.inputs import DatasetInput, PlanInputs
from trackyard.plan.mixture import MixtureParameters
from trackyard.plan.packing import Budget
from trackyard.plan.plan import Plan
from trackyard.row import Row
from trackyard.snapshot.reader import SnapshotDataset
from trackyard.snapshot.writer import write_dataset

PACKS = 4
SIZES = {"tallyqa": 16, "tulu": 6, "vqa-v2": 5}
DAMAGED = ("tallyqa", 3)


def rows_of(name: str) -> list[Row]:
    """Rows of a generated dataset, one of whose images is cut off in the middle."""
    rows = [MINI[name].row("train", index) for index in range(SIZES[name])]
    if name == DAMAGED[0]:
        broken = rows[DAMAGED[1]]
        cut = replace(broken.media[0], data=broken.media[0].data[:80])
        rows[DAMAGED[1]] = replace(broken, media=(cut,))
    return rows


def small_snapshot(root: Path) -> dict[str, SnapshotDataset]:
    """The datasets, written below `root` and opened."""
    for name in SIZES:
        write_dataset(
            root / name, {"train": iter(rows_of(name))}, dataset=name, source={"from": "tests"}, licence="CC0"
        )
    return {name: SnapshotDataset.open(root / name) for name in SIZES}


def small_plan(snapshot: Mapping[str, SnapshotDataset], cache: Path, *, steps: int) -> Plan:
    """A plan of `steps` x PACKS packs."""
    inputs = {}
    for name, dataset in snapshot.items():
        measured = [measure(row, name, feed(), tokens()) for row in dataset.iterate("train")]
        columns = {
            column: np.array([getattr(item, column) for item in measured])
            for column in ("tokens", "visual", "inputs", "labels")
        }
        inputs[name] = DatasetInput(
            manifest_fingerprint="m", index_fingerprint="i", rows=np.arange(len(measured)), excluded={}, **columns
        )
    return build_plan(
        inputs=PlanInputs(
            datasets=inputs,
            mixture=MixtureParameters(kind="sqrt"),
            budget=Budget(tokens=LENGTH, inputs=24),
            packs_per_step=PACKS,
            steps=steps,
            seed=0,
        ),
        cache=cache,
    )


def reader(
    plan: Plan, snapshot: Mapping[str, SnapshotDataset], *, rank: int = 0, world: int = 1, micro: int = 1
) -> PlanFeed:
    """One rank's feed."""
    return PlanFeed(plan, snapshot, feed(), tokens(), rank=rank, world=world, micro_batch=micro)


ARRAYS = ("input_ids", "positions", "segments", "examples", "visual_flags", "targets", "weights")


def same(one: Batch, other: Batch) -> bool:
    """Whether two batches hold the same values of the same types."""
    pairs = [(getattr(one, name), getattr(other, name)) for name in ARRAYS]
    pairs += [(getattr(one.visual, name), getattr(other.visual, name)) for name in ("patches", "pooling", "grids")]
    return all(a.dtype == b.dtype and np.array_equal(a, b) for a, b in pairs)
