"""One pair of servers for a file, one root for a test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.world import World, make_world, servers
from tests.loopback.hostile import HostileServer
from tests.loopback.hub import LoopbackHub


@pytest.fixture(scope="module")
def pair() -> Iterator[tuple[LoopbackHub, HostileServer]]:
    with servers() as found:
        yield found


@pytest.fixture
def world(tmp_path: Path, pair: tuple[LoopbackHub, HostileServer]) -> World:
    return make_world(tmp_path / "root", *pair)
