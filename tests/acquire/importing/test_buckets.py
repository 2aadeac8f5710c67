"""Addresses are shared out in the order in which they first appear."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from trackyard.acquire.importing.buckets import Buckets, address_key


@given(st.lists(st.integers(0, 20).map(lambda k: f"http://{k}"), max_size=60), st.integers(1, 6))
def test_parts_are_consecutive_and_even(addresses: list[str], count: int) -> None:
    buckets = Buckets(np.array([address_key(address) for address in addresses], dtype=np.uint64), count)
    distinct = list(dict.fromkeys(addresses))
    parts = [buckets.of(address) for address in distinct]
    assert parts == sorted(parts)
    sizes = [parts.count(part) for part in range(count)]
    assert max(sizes) - min(sizes) <= 1
    assert buckets.of(None) == buckets.of("http://elsewhere") == 0
