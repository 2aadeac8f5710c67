"""What tests of an engine share: a process group, without which DeepSpeed does not start."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from trackyard.train.ranks import join_ranks


@pytest.fixture(scope="module")
def one_rank() -> Iterator[None]:
    """A process group of one. It stays, since DeepSpeed keeps a handle on it; the variables that made it go again."""
    before = dict(os.environ)
    join_ranks(1)
    yield
    os.environ.clear()
    os.environ.update(before)
