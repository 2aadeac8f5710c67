from pathlib import Path

import numpy as np
import pytest

from trackyard.feed import token_windows
from trackyard.feed.token_windows import TokenWindows
from trackyard.snapshot.token_shards import TokenShards
from trackyard.snapshot.token_writer import write_tokens


@pytest.fixture
def shards(tmp_path: Path) -> TokenShards:
    """The ids 0 … 1,004."""
    directory = tmp_path / "t"
    facts = {"dataset": "t", "source": {}, "licence": "CC0-1.0", "tokenizer": "a"}
    write_tokens(directory, [range(1_005)], vocabulary=2_000, shard_tokens=300, **facts)
    return TokenShards.open(directory)


def test_every_token_is_predicted_once_an_epoch(shards: TokenShards, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_windows, "AT_ONCE", 7)
    windows = TokenWindows(shards, length=10, batch=4, seed=3)
    assert (windows.windows, windows.left_out) == (100, 4)
    batches = np.concatenate([windows.batch(step) for step in range(25)])
    assert batches.shape == (100, 11)
    assert (np.diff(batches) == 1).all()
    assert sorted(batches[:, 0].tolist()) == list(range(0, 1_000, 10))
    second = [int(number) for step in range(25, 50) for number in windows.numbers(step)]
    assert sorted(second) == list(range(100))
    assert second != (batches[:, 0] // 10).tolist(), "an epoch has an order of its own"


def test_a_step_may_lie_in_two_epochs(shards: TokenShards) -> None:
    odd, even = TokenWindows(shards, length=10, batch=7, seed=3), TokenWindows(shards, length=10, batch=1, seed=3)
    found = [int(number) for step in range(30) for number in odd.numbers(step)]
    assert found == [int(even.numbers(step)[0]) for step in range(210)]


def test_a_step_is_the_same_wherever_one_starts(shards: TokenShards) -> None:
    first, again = (TokenWindows(shards, length=16, batch=8, seed=5) for _ in range(2))
    for step in range(12):
        first.batch(step)
    assert np.array_equal(first.batch(12), again.batch(12))
    assert not np.array_equal(again.batch(0), TokenWindows(shards, length=16, batch=8, seed=6).batch(0))
