"""What was measured against what the site says: each thing that can be missing, named with what mends it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from trackyard.launch.between_nodes.judging import lacks
from trackyard.launch.between_nodes.measuring import Measured
from trackyard.launch.sites import Network, Site, load_site

GOOD = Measured(
    backend="nccl", hosts=("a", "a", "b", "b"), transports=("IB",), gib=1.0, seconds=0.1, bus_gbyte_per_s=40.0
)


def _site(**network: Any) -> Site:
    anvil = load_site("anvil", Path(__file__).resolve().parents[3])
    return anvil.model_copy(update={"network": Network(**network)})


def test_what_is_as_the_site_says_is_proved() -> None:
    assert lacks(GOOD, _site(transport="IB", min_gbyte_per_s=20.0)) == []
    assert lacks(replace(GOOD, transports=("Socket",), without_verbs=("a",)), _site(transport="Socket")) == []


def test_a_site_that_says_nothing_is_not_compared() -> None:
    assert lacks(replace(GOOD, backend="gloo", transports=("tcp",), hosts=("a", "a")), _site()) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"hosts": ("a", "a")}, "all 2 ranks are on a: nothing went between nodes"),
        (
            {"transports": ("Socket",), "complaints": ("NET/IB : No device found.",)},
            "NCCL talks over Socket between nodes, and not over IB (NET/IB : No device found.)",
        ),
        ({"transports": ("IB", "Socket")}, "NCCL talks over IB and Socket between nodes"),
        ({"transports": ()}, "NCCL talks over nothing that its log names"),
        ({"backend": "gloo", "transports": ("tcp",)}, "the ranks talk by gloo over tcp: they see no GPU"),
        ({"without_verbs": ("b",)}, "libibverbs.so.1 cannot be loaded on b"),
        ({"bus_gbyte_per_s": 1.5}, "1.5 GB/s, and site anvil says at least 20 GB/s"),
    ],
)
def test_each_lack_is_named(changes: dict[str, Any], said: str) -> None:
    (lack,) = lacks(replace(GOOD, **changes), _site(transport="IB", min_gbyte_per_s=20.0))
    assert said in lack.what
    assert lack.fix


def test_the_packages_of_a_missing_library_are_named() -> None:
    measured = replace(GOOD, transports=("Socket",), without_verbs=("a", "b"), bus_gbyte_per_s=1.0)
    found = lacks(measured, _site(transport="IB", min_gbyte_per_s=20.0))
    assert len(found) == 3, "everything at once"
    assert any("libibverbs1 rdma-core" in lack.fix for lack in found)
