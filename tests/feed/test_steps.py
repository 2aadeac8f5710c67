"""The feed: any step at any time, the same packs on any number of ranks, and broken rows that keep their place."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.tiny_molmo2 import LENGTH, feed, tokens
from trackyard.acquire.mini.datasets import MINI
from trackyard.errors import DataError
from trackyard.feed import steps as module
from trackyard.feed.batch import Batch
from trackyard.feed.sample import measure
from trackyard.feed.steps import BadRowBudget, PlanFeed, StepFeed
from trackyard.plan.build import DatasetInput, PlanInputs, build_plan
from trackyard.plan.mixture import MixtureParameters
from trackyard.plan.packing import Budget
from trackyard.plan.plan import Plan, PlannedRow
from trackyard.row import Row
from trackyard.snapshot.reader import SnapshotDataset
from trackyard.snapshot.writer import write_dataset

STEPS, PACKS = 4, 4
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


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> dict[str, SnapshotDataset]:
    root = tmp_path_factory.mktemp("snapshot")
    for name in SIZES:
        write_dataset(
            root / name, {"train": iter(rows_of(name))}, dataset=name, source={"from": "tests"}, licence="CC0"
        )
    return {name: SnapshotDataset.open(root / name) for name in SIZES}


@pytest.fixture(scope="module")
def plan(snapshot: Mapping[str, SnapshotDataset], tmp_path_factory: pytest.TempPathFactory) -> Plan:
    inputs = {}
    for name, dataset in snapshot.items():
        measured = [measure(row, name, feed(), tokens()) for row in dataset.iterate("train")]
        columns = {
            column: np.array([getattr(item, column) for item in measured])
            for column in ("tokens", "visual", "inputs", "labels")
        }
        inputs[name] = DatasetInput(
            manifest_fingerprint="m",
            index_fingerprint="i",
            rows=np.arange(len(measured)),
            excluded={},
            **columns,
        )
    return build_plan(
        inputs=PlanInputs(
            datasets=inputs,
            mixture=MixtureParameters(kind="sqrt"),
            budget=Budget(tokens=LENGTH, inputs=24),
            packs_per_step=PACKS,
            steps=STEPS,
            seed=0,
        ),
        cache=tmp_path_factory.mktemp("plan"),
    )


def reader(
    plan: Plan, snapshot: Mapping[str, SnapshotDataset], *, rank: int = 0, world: int = 1, micro: int = 1
) -> PlanFeed:
    return PlanFeed(plan, snapshot, feed(), tokens(), rank=rank, world=world, micro_batch=micro)


ARRAYS = ("input_ids", "positions", "segments", "examples", "visual_flags", "targets", "weights")


def same(one: Batch, other: Batch) -> bool:
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in ARRAYS) and all(
        np.array_equal(getattr(one.visual, name), getattr(other.visual, name))
        for name in ("patches", "pooling", "grids")
    )


def test_a_step_holds_the_rows_of_its_plan(plan: Plan, snapshot: Mapping[str, SnapshotDataset]) -> None:
    for number in range(STEPS):
        step = reader(plan, snapshot, micro=2).step(number)
        assert step.step == number
        assert step.rows == [row for slot in range(PACKS) for row in plan.pack(number, slot)]
        assert [batch.input_ids.shape for batch in step.batches] == [(2, LENGTH)] * 2
        # The step table of the plan was written from lengths alone, before anything was decoded.
        count, visual, inputs, labels, rows = plan.step_table[number]
        used = sum(int((batch.examples >= 0).sum()) for batch in step.batches)
        assert (used, len(step.rows)) == (count, rows)
        if not step.broken:
            assert sum(int(batch.visual_flags.sum()) for batch in step.batches) == visual
            assert sum(len(batch.visual.patches) for batch in step.batches) == inputs
            assert sum(int((batch.targets >= 0).sum()) for batch in step.batches) == labels


def test_the_weight_is_the_sum_over_the_step(plan: Plan, snapshot: Mapping[str, SnapshotDataset]) -> None:
    for micro in (1, 2, 4):
        step = reader(plan, snapshot, micro=micro).step(1)
        assert step.weight == pytest.approx(
            sum(float(b.weights.sum(dtype=np.float64)) for b in step.batches), rel=1e-12
        )
        assert step.weight == reader(plan, snapshot).step(1).weight


def test_any_step_can_be_read_first(plan: Plan, snapshot: Mapping[str, SnapshotDataset]) -> None:
    """A resume at step s reads what the first run read there."""
    run = list(reader(plan, snapshot).steps(0, STEPS))
    assert [step.step for step in run] == list(range(STEPS))
    for start in range(STEPS):
        again = list(reader(plan, snapshot).steps(start, STEPS))
        assert [step.step for step in again] == list(range(start, STEPS))
        for one, other in zip(run[start:], again, strict=True):
            assert one.rows == other.rows
            assert all(same(a, b) for a, b in zip(one.batches, other.batches, strict=True))
    assert list(reader(plan, snapshot).steps(2, 2)) == []


@pytest.mark.parametrize("world", [2, 4])
def test_ranks_share_a_step_without_changing_it(
    plan: Plan, snapshot: Mapping[str, SnapshotDataset], world: int
) -> None:
    whole = reader(plan, snapshot).step(2)
    shares = [reader(plan, snapshot, rank=rank, world=world).step(2) for rank in range(world)]
    for rank, share in enumerate(shares):
        for number, batch in enumerate(share.batches):
            assert same(batch, whole.batches[rank + number * world])
    assert sum(share.weight for share in shares) == pytest.approx(whole.weight, rel=1e-12)
    assert sum((share.broken for share in shares), Counter()) == whole.broken


def test_groups_name_the_dataset_of_every_answer_position(plan: Plan, snapshot: Mapping[str, SnapshotDataset]) -> None:
    of = reader(plan, snapshot, micro=2)
    assert of.names == sorted(SIZES)
    for number in range(STEPS):
        step = of.step(number)
        for place, (batch, groups) in enumerate(zip(step.batches, step.groups, strict=True)):
            answers = batch.weights > 0
            assert len(groups) == answers.sum()
            # Reading order: pack by pack, and in a pack row by row.
            examples = [(pack, example) for pack in range(2) for example in batch.examples[pack][answers[pack]]]
            wanted = [
                of.names.index(plan.pack(number, 2 * place + pack)[example].dataset) for pack, example in examples
            ]
            assert groups.tolist() == wanted


def test_a_broken_row_keeps_its_place_and_teaches_nothing(plan: Plan, snapshot: Mapping[str, SnapshotDataset]) -> None:
    found = Counter[str]()
    for step in reader(plan, snapshot).steps(0, STEPS):
        for slot, batch in enumerate(step.batches):
            for example, row in enumerate(plan.pack(step.step, slot)):
                mine = batch.examples[0] == example
                measured = measure(rows_of(row.dataset)[row.row], row.dataset, feed(), tokens())
                assert mine.sum() == measured.tokens
                broken = (row.dataset, row.row) == DAMAGED
                assert (batch.weights[0][mine].sum() == 0) == broken
                assert bool(batch.visual_flags[0][mine].any()) == (measured.visual > 0 and not broken)
        found += step.broken
    planned = [(row.dataset, row.row) for n in range(STEPS) for s in range(PACKS) for row in plan.pack(n, s)]
    assert planned.count(DAMAGED) > 0
    assert found == {"tallyqa: unreadable image": planned.count(DAMAGED)}


def test_decoding_runs_ahead_by_no_more_than_it_says(
    plan: Plan, snapshot: Mapping[str, SnapshotDataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    of = reader(plan, snapshot)
    begun: list[int] = []
    real = PlanFeed.step

    def note(self: PlanFeed, number: int) -> StepFeed:
        begun.append(number)
        assert threading.current_thread().name.startswith("feed")
        return real(self, number)

    monkeypatch.setattr(PlanFeed, "step", note)
    steps = of.steps(0, STEPS)
    next(steps)
    deadline = time.monotonic() + 5
    while len(begun) < module.LOOKAHEAD and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.05)
    assert begun == list(range(module.LOOKAHEAD))
    assert [step.step for step in steps] == [1, 2, 3]
    assert begun == list(range(STEPS))


def test_an_error_in_the_reading_thread_comes_out_at_its_step(
    plan: Plan, snapshot: Mapping[str, SnapshotDataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = PlanFeed.step

    def fail(self: PlanFeed, number: int) -> StepFeed:
        if number == 2:
            raise DataError(what="page 7 is damaged", why="test", fix="test")
        return real(self, number)

    monkeypatch.setattr(PlanFeed, "step", fail)
    steps = reader(plan, snapshot).steps(0, STEPS)
    assert [next(steps).step, next(steps).step] == [0, 1]
    with pytest.raises(DataError, match="page 7 is damaged"):
        next(steps)


def test_a_run_that_ends_early_leaves_no_thread(plan: Plan, snapshot: Mapping[str, SnapshotDataset]) -> None:
    steps = reader(plan, snapshot).steps(0, STEPS)
    next(steps)
    steps.close()  # type: ignore[attr-defined]
    assert [thread for thread in threading.enumerate() if thread.name.startswith("feed")] == []


# The budget of broken rows -------------------------------------------------------------------------------------------


def counted(rows: int, **broken: int) -> StepFeed:
    planned = [PlannedRow("set", k, 0) for k in range(rows)]
    empty: Any = []
    return StepFeed(step=0, batches=empty, weight=1.0, rows=planned, groups=empty, broken=Counter(broken))


def test_one_broken_row_is_always_allowed() -> None:
    budget = BadRowBudget(0.0)
    budget.add(counted(10, unreadable=1))
    budget.add(counted(10))
    with pytest.raises(DataError, match=r"2 of 30 rows could not be decoded: \{'unreadable': 1, 'cut': 1\}") as caught:
        budget.add(counted(10, cut=1))
    assert "0.00%" in caught.value.why


def test_the_share_is_over_all_rows_so_far() -> None:
    budget = BadRowBudget(0.01)
    for _ in range(10):
        budget.add(counted(100, unreadable=1))
    assert (budget.rows, budget.bad.total()) == (1000, 10)
    with pytest.raises(DataError, match="11 of 1001 rows"):
        budget.add(counted(1, unreadable=1))
