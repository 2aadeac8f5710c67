"""Any number of ranks and workers, any interruption: the same examples in the same global order (reliability F13).

A rank reads alone, so the ranks of a world are read one after the other. In a segment with workers one of the ranks has
them, drawn by the seed, because each process takes a second to start.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice, pairwise

import pytest

from tests.feed.small_plan import ARRAYS, PACKS, reader, small_plan, small_snapshot
from trackyard.digest import digest_bytes
from trackyard.feed.batch import Batch
from trackyard.feed.loader import read_ahead
from trackyard.plan.plan import Plan, PlannedRow
from trackyard.snapshot.reader import SnapshotDataset

STEPS = 12
INTERRUPTIONS = 5
WORLDS, WORKERS = (1, 2, 4), (0, 1, 2)
COMBINATIONS = [(world, workers) for world in WORLDS for workers in WORKERS]
SEEDS = (0, 1)

Slots = dict[int, tuple[str, list[PlannedRow]]]
"""Of one step: slot -> digest of its pack, and the rows of the rank that holds it."""


@dataclass(frozen=True)
class Segment:
    """Life of a run between two interruptions."""

    start: int
    stop: int
    world: int
    workers: int


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> dict[str, SnapshotDataset]:
    return small_snapshot(tmp_path_factory.mktemp("snapshot"))


@pytest.fixture(scope="module")
def plan(snapshot: Mapping[str, SnapshotDataset], tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return small_plan(snapshot, tmp_path_factory.mktemp("plan"), steps=STEPS)


def segments(seed: int) -> list[Segment]:
    """Five interruptions at random places; the two seeds together go through every combination."""
    places = sorted(random.Random(seed).sample(range(1, STEPS), INTERRUPTIONS))
    bounds = [0, *places, STEPS]
    combinations = COMBINATIONS + [(world, 0) for world in WORLDS]
    random.Random(7).shuffle(combinations)
    chosen = combinations[seed :: len(SEEDS)]
    return [Segment(a, b, *how) for (a, b), how in zip(pairwise(bounds), chosen, strict=True)]


def digest(batch: Batch) -> str:
    visual = batch.visual
    arrays = [getattr(batch, name) for name in ARRAYS] + [visual.patches, visual.pooling, visual.grids]
    return digest_bytes(b"".join(array.tobytes() for array in arrays))


def read(
    plan: Plan, snapshot: Mapping[str, SnapshotDataset], segment: Segment, *, late: int = 0
) -> list[tuple[list[str], list[PlannedRow]]]:
    """What all ranks of a segment read: per step the packs and the rows, in global order.

    The life ends in the middle of its last step's successor, which is decoded, half used, and lost.
    """
    packs: dict[int, dict[int, str]] = {step: {} for step in range(segment.start, segment.stop)}
    rows: dict[int, dict[int, list[PlannedRow]]] = {step: {} for step in packs}
    chosen = random.Random(segment.start).randrange(segment.world)
    for rank in range(segment.world):
        feed = reader(plan, snapshot, rank=rank, world=segment.world)
        workers = segment.workers if rank == chosen else 0
        with read_ahead(feed, segment.start + late, STEPS, workers=workers) as steps:
            for place, step in zip(packs, steps, strict=False):
                mine = iter(step.rows)
                for slot, batch in zip(range(rank, PACKS, segment.world), step.batches, strict=True):
                    packs[place][slot] = digest(batch)
                    # Examples of a pack are numbered from 0, padding has -1.
                    rows[place][slot] = list(islice(mine, int(batch.examples.max()) + 1))
                assert next(mine, None) is None
            for step in islice(steps, 1):
                next(iter(step.batches))
    order = range(PACKS)
    return [
        ([packs[step][slot] for slot in order], [row for slot in order for row in rows[step][slot]]) for step in packs
    ]


def test_the_seeds_go_through_every_combination() -> None:
    found = [segment for seed in SEEDS for segment in segments(seed)]
    assert {(segment.world, segment.workers) for segment in found} == set(COMBINATIONS)
    assert len(found) == len(SEEDS) * (INTERRUPTIONS + 1)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_global_order_survives_five_interruptions(
    plan: Plan, snapshot: Mapping[str, SnapshotDataset], seed: int
) -> None:
    whole = [digest(batch) for step in range(STEPS) for batch in reader(plan, snapshot).step(step).batches]
    found = [one for segment in segments(seed) for one in read(plan, snapshot, segment)]
    assert [pack for packs, _ in found for pack in packs] == whole
    planned = [row for step in range(STEPS) for slot in range(PACKS) for row in plan.pack(step, slot)]
    order = [row for _, rows in found for row in rows]
    assert order == planned
    assert Counter(order) == Counter(planned), "nothing repeated, nothing dropped"
    assert len(set(planned)) == len(planned), "a row and its epoch occur once in a plan"


def test_negative_control_a_feed_that_starts_one_step_late(plan: Plan, snapshot: Mapping[str, SnapshotDataset]) -> None:
    segment = Segment(3, 6, 2, 0)
    right, late = read(plan, snapshot, segment), read(plan, snapshot, segment, late=1)
    assert right[1:] == late[:-1]
    assert all(a != b for a, b in zip(right, late, strict=True))
