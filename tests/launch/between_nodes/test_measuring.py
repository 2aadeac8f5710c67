"""Ranks that do not meet, and sums that are wrong. What is right is in tests/cli/test_smoke.py, by real launchers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import pytest
import torch

from trackyard.errors import TrackyardError
from trackyard.launch.between_nodes.measuring import _require_sums, measure
from trackyard.launch.launched import Launched
from trackyard.launch.processes import free_port


@pytest.fixture
def environment() -> Iterator[None]:
    with patch.dict(os.environ):
        yield


@pytest.mark.usefixtures("environment")
def test_a_rank_that_nobody_joins_says_where_it_waited() -> None:
    threads, port = torch.get_num_threads(), free_port()
    alone = Launched(by="srun", rank=0, world=2, local_rank=0, local_world=1, host="127.0.0.1", port=port)
    try:
        with pytest.raises(
            TrackyardError, match=rf"rank 0 of 2 did not meet the others at 127\.0\.0\.1:{port}"
        ) as told:
            measure(alone, 0.001, {"GLOO_SOCKET_IFNAME": "lo"}, timeout_s=1.0)
    finally:
        torch.set_num_threads(threads)
    assert "network.environment" in told.value.fix
    assert os.environ["GLOO_SOCKET_IFNAME"] == "lo"


@dataclass
class _Ranks:
    world: int = 4

    def total(self, values: list[float]) -> list[float]:
        return values


def test_wrong_sums_stop() -> None:
    ranks: Any = _Ranks()
    _require_sums(torch.full((100,), 10.0), ranks)
    wrong = torch.full((100,), 10.0)
    wrong[7] = 9.0
    with pytest.raises(TrackyardError, match="1 sums of an all-reduce between 4 ranks are not 10"):
        _require_sums(wrong, ranks)
