"""What tests of an engine share: a process group, without which DeepSpeed does not start."""

from __future__ import annotations

import pytest

from trackyard.train.ranks import join_ranks


@pytest.fixture(scope="module")
def one_rank() -> None:
    """A process group of one. It stays, since DeepSpeed keeps a handle on it."""
    join_ranks(1)
