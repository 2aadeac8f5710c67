"""What tests of the track share."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True, scope="module")
def variables_go_again() -> Iterator[None]:
    """A process that trains forms a process group, and says in its environment which rank of it it is."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)
