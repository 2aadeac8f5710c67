"""A micro-batch through another process's pickle: the same values in shared memory, released with the last array."""

from __future__ import annotations

import time
from contextlib import suppress
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.feed.small_plan import same
from trackyard.feed.bad_rows import BadRow
from trackyard.feed.batch import Batch, Visual
from trackyard.feed.handover import Parcel
from trackyard.feed.steps import Facts, MicroBatch
from trackyard.plan.plan import PlannedRow


def unit(packs: int, length: int, inputs: int, seed: int = 0) -> MicroBatch:
    random = np.random.default_rng(seed)

    def integers(*shape: int) -> Any:
        return random.integers(-9, 9, shape)

    visual = Visual(
        patches=random.integers(0, 256, (inputs, 4, 12), dtype=np.uint8),
        pooling=integers(inputs, 9),
        grids=integers(min(inputs, 1), 4),
    )
    names = ("input_ids", "positions", "segments", "examples", "targets")
    batch = Batch(
        **{name: integers(packs, length) for name in names},
        visual_flags=integers(packs, length) > 0,
        weights=random.random((packs, length), dtype=np.float32),
        visual=visual,
    )
    facts = Facts(
        rows=(PlannedRow("set", 7, 0),),
        weights=(0.5,) * packs,
        groups=integers(3),
        broken=(BadRow("set", 7, "seven", "unreadable image"),),
    )
    return MicroBatch(batch=batch, facts=facts)


def sent(parcel: Parcel) -> MicroBatch:
    """As another process receives it. The descriptor goes through the socket that other processes use."""
    arrived: MicroBatch = ForkingPickler.loads(ForkingPickler.dumps(parcel))
    return arrived


def held() -> int:
    """Descriptors of this process that stand for blocks."""
    count = 0
    for link in Path("/proc/self/fd").iterdir():
        # Another thread may close one between the listing and this look at it.
        with suppress(FileNotFoundError):
            count += "trackyard-feed" in str(link.readlink())
    return count


def settles(count: int) -> bool:
    """Whether so many are held soon: the thread that sends a descriptor closes its own copy a moment later."""
    deadline = time.monotonic() + 60
    while held() != count and time.monotonic() < deadline:
        time.sleep(0.01)
    return held() == count


@settings(max_examples=15)
@given(st.integers(1, 3), st.integers(1, 40), st.integers(0, 5))
def test_what_arrives_is_what_was_sent(packs: int, length: int, inputs: int) -> None:
    wanted = unit(packs, length, inputs)
    found = sent(Parcel(wanted))
    assert same(found.batch, wanted.batch)
    assert (found.facts.rows, found.facts.weights, found.facts.broken) == (
        wanted.facts.rows,
        wanted.facts.weights,
        wanted.facts.broken,
    )
    assert np.array_equal(found.facts.groups, wanted.facts.groups)
    # Negative control: the comparison sees one value.
    found.batch.input_ids[0, 0] += 1
    assert not same(found.batch, wanted.batch)


def test_the_block_lives_as_long_as_its_last_array() -> None:
    before = held()
    parcel = Parcel(unit(2, 30, 3))
    found = sent(parcel)
    del parcel
    assert settles(before + 1), "one descriptor for all arrays"
    last = found.batch.visual.patches
    wanted = unit(2, 30, 3).batch.visual.patches
    del found
    assert settles(before + 1)
    assert np.array_equal(last, wanted)
    del last
    assert settles(before)


def test_what_is_pickled_is_small() -> None:
    assert len(ForkingPickler.dumps(Parcel(unit(2, 4_000, 500)))) < 4_000
