"""The feed: any micro-batch at any time, the same packs on any number of ranks, broken rows that keep their place."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.feed.small_plan import (
    DAMAGED,
    PACKS,
    SIZES,
    reader,
    rows_of,
    same,
    small_plan,
    small_snapshot,
)
from tests.tiny_molmo2 import LENGTH, feed, tokens
from trackyard.errors import DataError, IdentityError
from trackyard.feed.bad_rows import BadRow
from trackyard.feed.sample import measure
from trackyard.plan.plan import Plan
from trackyard.snapshot.reader import SnapshotDataset

STEPS = 4


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> dict[str, SnapshotDataset]:
    return small_snapshot(tmp_path_factory.mktemp("snapshot"))


@pytest.fixture(scope="module")
def plan(snapshot: Mapping[str, SnapshotDataset], tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return small_plan(snapshot, tmp_path_factory.mktemp("plan"), steps=STEPS)


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


def test_pixels_travel_as_bytes(plan: Plan, snapshot: Mapping[str, SnapshotDataset]) -> None:
    of = reader(plan, snapshot, micro=2)
    for number in range(STEPS):
        for batch in of.step(number).batches:
            visual = batch.visual
            assert visual.patches.dtype == np.uint8
            arrays = [visual.patches, visual.pooling, visual.grids, batch.input_ids, batch.positions, batch.segments]
            arrays += [batch.examples, batch.visual_flags, batch.targets, batch.weights]
            assert sum(array.nbytes for array in arrays) <= of.micro_batch_bytes


def test_the_weight_is_the_sum_over_the_step(plan: Plan, snapshot: Mapping[str, SnapshotDataset]) -> None:
    for micro in (1, 2, 3, 4):
        of = reader(plan, snapshot, micro=micro)
        step = of.step(1)
        assert len(list(step.batches)) == of.micro_batches
        assert step.weight == pytest.approx(
            sum(float(b.weights.sum(dtype=np.float64)) for b in step.batches), rel=1e-12
        )
        assert step.weight == reader(plan, snapshot).step(1).weight


def test_any_micro_batch_can_be_read_first(plan: Plan, snapshot: Mapping[str, SnapshotDataset]) -> None:
    run = [reader(plan, snapshot).step(number) for number in range(STEPS)]
    again = reader(plan, snapshot)
    for number in (3, 0, 2):
        for index in (2, 0):
            assert same(again.micro_batch(number, index).batch, list(run[number].batches)[index])


@pytest.mark.parametrize("world", [2, 4])
def test_ranks_share_a_step_without_changing_it(
    plan: Plan, snapshot: Mapping[str, SnapshotDataset], world: int
) -> None:
    whole = reader(plan, snapshot).step(2)
    shares = [reader(plan, snapshot, rank=rank, world=world).step(2) for rank in range(world)]
    for rank, share in enumerate(shares):
        for number, batch in enumerate(share.batches):
            assert same(batch, list(whole.batches)[rank + number * world])
    assert sum(share.weight for share in shares) == pytest.approx(whole.weight, rel=1e-12)
    assert sum(len(share.broken) for share in shares) == len(whole.broken)


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
    found: list[BadRow] = []
    for number in range(STEPS):
        step = reader(plan, snapshot).step(number)
        for slot, batch in enumerate(step.batches):
            for example, row in enumerate(plan.pack(number, slot)):
                mine = batch.examples[0] == example
                measured = measure(rows_of(row.dataset)[row.row], row.dataset, feed(), tokens())
                assert mine.sum() == measured.tokens
                broken = (row.dataset, row.row) == DAMAGED
                assert (batch.weights[0][mine].sum() == 0) == broken
                assert bool(batch.visual_flags[0][mine].any()) == (measured.visual > 0 and not broken)
        found += step.broken
    planned = [(row.dataset, row.row) for n in range(STEPS) for s in range(PACKS) for row in plan.pack(n, s)]
    assert planned.count(DAMAGED) > 0
    name, number = DAMAGED
    assert found == [BadRow(name, number, rows_of(name)[number].id, "unreadable image")] * planned.count(DAMAGED)


def test_a_damaged_shard_stops_the_run_and_is_named(tmp_path: Path) -> None:
    """F6: media that do not decode are skipped; bytes that are not those of the manifest never are."""
    opened = small_snapshot(tmp_path)
    plan = small_plan(opened, tmp_path / "plan", steps=STEPS)
    shard = next((tmp_path / "tallyqa").rglob("*.parquet"))
    content = bytearray(shard.read_bytes())
    for row in rows_of("tallyqa"):
        # A bit in the middle of each picture, which may well decode all the same.
        content[content.index(row.media[0].data) + len(row.media[0].data) // 2] ^= 0x10
    shard.write_bytes(content)
    feed = reader(plan, {name: SnapshotDataset.open(tmp_path / name) for name in SIZES})
    with pytest.raises(DataError) as caught:
        _ = [feed.step(number) for number in range(STEPS)]
    assert str(shard) in caught.value.what
    assert "data.dvc" in caught.value.fix


def test_a_feed_can_be_opened_again_elsewhere(plan: Plan, snapshot: Mapping[str, SnapshotDataset]) -> None:
    of = reader(plan, snapshot, rank=1, world=2, micro=2)
    sent = pickle.dumps(of.source)
    again = pickle.loads(sent).open()
    assert same(again.micro_batch(3, 0).batch, of.micro_batch(3, 0).batch)
    assert len(sent) < len(pickle.dumps(of.source.tokens)) + 3_000, "paths and settings, no data"
    with pytest.raises(IdentityError, match="belongs to plan 0000"):
        replace(of.source, fingerprint="0" * 64).open()
