"""Steps decoded ahead: the same as by random access, bounded in number and bytes, with no thread left behind."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Mapping

import numpy as np
import pytest

from tests.feed.small_plan import PACKS, reader, same, small_plan, small_snapshot
from trackyard.errors import DataError
from trackyard.feed.loader import AHEAD, ahead, read_ahead
from trackyard.feed.steps import MicroBatch, PlanFeed
from trackyard.plan.plan import Plan
from trackyard.snapshot.reader import SnapshotDataset

STEPS = 4


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> dict[str, SnapshotDataset]:
    return small_snapshot(tmp_path_factory.mktemp("snapshot"))


@pytest.fixture(scope="module")
def plan(snapshot: Mapping[str, SnapshotDataset], tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return small_plan(snapshot, tmp_path_factory.mktemp("plan"), steps=STEPS)


@pytest.mark.parametrize("micro", [1, 3, 4])
def test_steps_read_ahead_are_those_of_random_access(
    plan: Plan, snapshot: Mapping[str, SnapshotDataset], micro: int
) -> None:
    feed = reader(plan, snapshot, micro=micro)
    for start in (0, 2, STEPS):
        with read_ahead(feed, start, STEPS) as steps:
            numbers = []
            for found in steps:
                wanted = feed.step(found.step)
                assert (found.rows, found.weight, found.broken) == (wanted.rows, wanted.weight, wanted.broken)
                assert [g.tolist() for g in found.groups] == [g.tolist() for g in wanted.groups]
                assert all(same(a, b) for a, b in zip(found.batches, wanted.batches, strict=True))
                numbers.append(found.step)
        assert numbers == list(range(start, STEPS))


def test_a_step_whose_batches_are_not_taken_does_not_shift_the_next(
    plan: Plan, snapshot: Mapping[str, SnapshotDataset]
) -> None:
    feed = reader(plan, snapshot)
    with read_ahead(feed, 0, STEPS) as steps:
        next(iter(next(steps).batches))
        next(steps)
        third = next(steps)
        assert all(same(a, b) for a, b in zip(third.batches, feed.step(2).batches, strict=True))


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Micro-batches that were begun, in order; by the thread of the feed only."""
    begun: list[tuple[int, int]] = []
    real = PlanFeed.micro_batch

    def note(self: PlanFeed, step: int, index: int) -> MicroBatch:
        begun.append((step, index))
        assert threading.current_thread().name.startswith("feed")
        return real(self, step, index)

    monkeypatch.setattr(PlanFeed, "micro_batch", note)
    return begun


def test_decoding_runs_ahead_by_no_more_than_it_says(
    plan: Plan, snapshot: Mapping[str, SnapshotDataset], decoded: list[tuple[int, int]]
) -> None:
    def settled(count: int) -> bool:
        deadline = time.monotonic() + 60
        while len(decoded) < count and time.monotonic() < deadline:
            time.sleep(0.005)
        time.sleep(0.03)
        return len(decoded) == count

    order = [(step, index) for step in range(STEPS) for index in range(PACKS)]
    with read_ahead(reader(plan, snapshot), 0, STEPS) as steps:
        batches = iter(next(steps).batches)
        assert settled(PACKS + AHEAD), "one step and what is ahead of it"
        next(batches)
        assert settled(PACKS + AHEAD + 1), "what is used makes room"
        for step in steps:
            assert len(list(step.batches)) == PACKS
    assert decoded == order


def test_bytes_bound_what_is_ahead(plan: Plan, snapshot: Mapping[str, SnapshotDataset]) -> None:
    feed = reader(plan, snapshot)
    one = feed.micro_batch_bytes
    assert ahead(feed, 0, 10**12) == ahead(feed, 1, 10**12) == AHEAD
    assert ahead(feed, 8, 10**12) == 8 * AHEAD
    assert ahead(feed, 8, 3 * one) == 3
    assert ahead(feed, 8, one - 1) == 1, "one is always decoded ahead, or nothing would be"
    assert reader(plan, snapshot, micro=4).micro_batch_bytes == 4 * one


def test_used_micro_batches_are_let_go(plan: Plan, snapshot: Mapping[str, SnapshotDataset]) -> None:
    with read_ahead(reader(plan, snapshot), 0, STEPS) as steps:
        arrays: list[weakref.ref[np.ndarray]] = []
        for step in steps:
            for batch in step.batches:
                arrays.append(weakref.ref(batch.input_ids))
                del batch
                assert sum(array() is not None for array in arrays) <= 1


def test_an_error_comes_out_at_its_step(
    plan: Plan, snapshot: Mapping[str, SnapshotDataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = PlanFeed.micro_batch

    def fail(self: PlanFeed, step: int, index: int) -> MicroBatch:
        if (step, index) == (2, 1):
            raise DataError(what="page 7 is damaged", why="test", fix="test")
        return real(self, step, index)

    monkeypatch.setattr(PlanFeed, "micro_batch", fail)
    with read_ahead(reader(plan, snapshot), 0, STEPS) as steps:
        assert [next(steps).step, next(steps).step] == [0, 1]
        with pytest.raises(DataError, match="page 7 is damaged"):
            next(steps)


def test_a_run_that_ends_early_leaves_no_thread(
    plan: Plan, snapshot: Mapping[str, SnapshotDataset], decoded: list[tuple[int, int]]
) -> None:
    with read_ahead(reader(plan, snapshot), 0, STEPS) as steps:
        next(steps)
    assert [thread for thread in threading.enumerate() if thread.name.startswith("feed")] == []
    count = len(decoded)
    time.sleep(0.05)
    assert len(decoded) == count < STEPS * PACKS
