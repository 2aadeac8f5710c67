"""The best subset for a limited disk: never over budget, never worse than greedy, what is shared counted once."""

from __future__ import annotations

from itertools import combinations
from math import fsum

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trackyard.acquire.budget import Candidate, choose
from trackyard.errors import ConfigError

SHARED = (
    Candidate(name="coco", value=0, bytes=400, files=4),
    Candidate(name="genome", value=0, bytes=900, files=2),
    # Something that is wanted for itself and needed by others, and needs something itself.
    Candidate(name="videos", value=2, bytes=5000, files=50, needs=("coco",)),
)

candidates = st.lists(
    st.builds(
        Candidate,
        name=st.uuids().map(str),
        value=st.floats(0.001, 10, allow_nan=False),
        bytes=st.integers(0, 5000),
        files=st.integers(0, 100),
        needs=st.sets(st.sampled_from([item.name for item in SHARED])).map(lambda names: tuple(sorted(names))),
    ),
    max_size=7,
).map(lambda items: [*items, *SHARED])


def closed(chosen: tuple[Candidate, ...], items: list[Candidate]) -> list[Candidate]:
    """Computed here once more, in another way than the module does."""
    names = {item.name for item in chosen}
    for _ in range(3):
        names |= {need for item in items if item.name in names for need in item.needs}
    return [item for item in items if item.name in names]


def allowed(chosen: tuple[Candidate, ...], items: list[Candidate], max_bytes: int, max_files: int) -> bool:
    taken = closed(chosen, items)
    return sum(item.bytes for item in taken) <= max_bytes and sum(item.files for item in taken) <= max_files


def densest_first(items: list[Candidate], max_bytes: int, max_files: int) -> float:
    """A greedy baseline of the test's own."""
    taken: tuple[Candidate, ...] = ()
    for item in sorted(items, key=lambda item: item.value / (item.bytes + 1), reverse=True):
        if allowed((*taken, item), items, max_bytes, max_files):
            taken = (*taken, item)
    return fsum(item.value for item in closed(taken, items))


@settings(max_examples=80, deadline=None)
@given(candidates, st.integers(0, 15_000), st.integers(0, 250))
def test_a_choice_fits_and_no_subset_is_better(items: list[Candidate], max_bytes: int, max_files: int) -> None:
    chosen = choose(items, max_bytes=max_bytes, max_files=max_files)
    taken = tuple(item for item in items if item.name in {*chosen.names, *chosen.shared})
    assert closed(taken, items) == list(taken), "nothing that is needed is missing"
    assert (chosen.bytes, chosen.files) == (sum(item.bytes for item in taken), sum(item.files for item in taken))
    assert chosen.bytes <= max_bytes
    assert chosen.files <= max_files
    assert chosen.value >= densest_first(items, max_bytes, max_files) - 1e-9
    best = max(
        fsum(item.value for item in closed(subset, items))
        for count in range(len(items) + 1)
        for subset in combinations(items, count)
        if allowed(subset, items, max_bytes, max_files)
    )
    assert chosen.value >= best * (1 - 1e-6)
    assert {*chosen.names, *chosen.left_out} == {item.name for item in items if item.value > 0}


def test_what_several_need_counts_once() -> None:
    pair = [Candidate(name=name, value=1, bytes=100, files=1, needs=("genome",)) for name in ("a", "b")]
    alone = Candidate(name="c", value=1.5, bytes=1000, files=1)
    chosen = choose([*pair, alone, SHARED[1]], max_bytes=1100)
    assert chosen.names == ("a", "b")
    assert (chosen.bytes, chosen.shared, chosen.left_out) == (1100, ("genome",), ("c",))


def test_greedy_alone_would_be_worse() -> None:
    """The denser small one would block the large one that fits exactly."""
    small = Candidate(name="small", value=2, bytes=10, files=1)
    large = Candidate(name="large", value=10, bytes=100, files=1)
    assert choose([small, large], max_bytes=100).names == ("large",)


def test_nothing_fits() -> None:
    chosen = choose([Candidate(name="a", value=1, bytes=5, files=1)], max_bytes=4)
    assert (chosen.names, chosen.left_out, chosen.bytes) == ((), ("a",), 0)
    assert choose([], max_bytes=4).names == ()


def test_a_need_that_nobody_offers_is_refused() -> None:
    with pytest.raises(ConfigError, match="'gone' is needed and is no candidate"):
        choose([Candidate(name="a", value=1, bytes=5, files=1, needs=("gone",))], max_bytes=40)
