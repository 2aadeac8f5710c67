"""Ranks that do not meet, and sums that are wrong. What is right is in tests/cli/test_smoke.py, by real launchers."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from typing import Any

import pytest
import torch

from trackyard.errors import TrackyardError
from trackyard.launch.between_nodes.measuring import _require_sums
from trackyard.launch.processes import free_port

ALONE = """
import os, sys
from trackyard.errors import TrackyardError
from trackyard.launch.between_nodes.measuring import measure
from trackyard.launch.launched import Launched
port = int(sys.argv[1])
alone = Launched(by="srun", rank=0, world=2, local_rank=0, local_world=1, host="127.0.0.1", port=port)
try:
    measure(alone, 0.001, {"GLOO_SOCKET_IFNAME": "lo"}, timeout_s=1.0)
except TrackyardError as error:
    print(error.what, error.fix, os.environ["GLOO_SOCKET_IFNAME"], sep="\\n")
"""
"""In a process of its own: a process group belongs to the process, and other tests have one."""


def test_a_rank_that_nobody_joins_says_where_it_waited() -> None:
    port = free_port()
    done = subprocess.run(
        [sys.executable, "-c", ALONE, str(port)], capture_output=True, text=True, check=True, timeout=240
    )
    what, fix, interface = done.stdout.splitlines()
    assert what.startswith(f"rank 0 of 2 did not meet the others at 127.0.0.1:{port}")
    assert "network.environment" in fix
    assert interface == "lo"


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
