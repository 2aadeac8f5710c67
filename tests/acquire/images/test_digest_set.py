"""Digests in sorted arrays behave as a set of Python objects does."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from trackyard.acquire.images.digest_set import DigestSet, keys_of, positions

# Few different bytes, zeros among them: numpy pads with zeros, and equal beginnings are where a search goes wrong.
DIGESTS = st.lists(st.lists(st.sampled_from([0, 1, 255]), min_size=16, max_size=16).map(bytes), max_size=40)


@given(st.lists(DIGESTS, max_size=6), DIGESTS)
def test_it_holds_what_was_added_and_nothing_else(batches: list[list[bytes]], asked: list[bytes]) -> None:
    found, model = DigestSet(), set[bytes]()
    for batch in batches:
        assert found.holds(batch) == [digest in model for digest in batch]
        found.add(batch)
        model |= set(batch)
        assert len(found) == len(model)
    assert found.holds(asked) == [digest in model for digest in asked]


def test_longer_digests_are_known_by_their_beginning() -> None:
    found = DigestSet()
    found.add([bytes(15) + b"a" + bytes(16)])
    assert found.holds([bytes(15) + b"a" + b"x" * 16, bytes(15) + b"b" + bytes(16)]) == [True, False]


@given(DIGESTS, DIGESTS)
def test_positions_point_at_equal_keys(there: list[bytes], wanted: list[bytes]) -> None:
    ordered = np.unique(keys_of(there))
    found = positions(ordered, keys_of(wanted))
    for digest, place in zip(wanted, found.tolist(), strict=True):
        assert (place >= 0) == (digest in there)
        if place >= 0:
            assert ordered[place] == keys_of([digest])[0]
