"""Lines in forms that NCCL has printed (nccl#367, #707, #1232, #1410, #1814), with hosts and addresses of our own."""

from __future__ import annotations

import pytest

from trackyard.launch.between_nodes.nccl_log import complaints, has_verbs, transports

SOCKETS = """\
gpu-a:41:90 [0] NCCL INFO NET/Plugin: No plugin found (libnccl-net.so)
gpu-a:41:90 [0] NCCL INFO Failed to open libibverbs.so[.1]
gpu-a:41:90 [0] NCCL INFO NET/Socket : Using [0]eth0:10.0.0.1<0>
gpu-a:41:90 [0] NCCL INFO Using network Socket
gpu-a:41:95 [0] NCCL INFO Channel 00/0 : 3[3] -> 0[0] [receive] via NET/Socket/0
gpu-a:41:95 [0] NCCL INFO Channel 00/0 : 0[0] -> 1[1] via P2P/CUMEM
gpu-a:41:95 [0] NCCL INFO Channel 01/0 : 0[0] -> 3[3] [send] via NET/Socket/0
"""
VERBS = """\
gpu-a:41:90 [0] NCCL INFO NET/IB : Using [0]mlx5_0:1/IB [RO]; OOB ib0:10.1.0.1<0>
gpu-a:41:90 [0] NCCL INFO Using network IB
gpu-a:41:95 [0] NCCL INFO Channel 01 : 2[c7000] -> 0[87000] [receive] via NET/IB/5/GDRDMA
gpu-a:41:95 [0] NCCL INFO Channel 01/0 : 0[0] -> 4[0] [send] via NET/IB/0(1)/GDRDMA/Shared
"""


@pytest.mark.parametrize(
    ("log", "found"),
    [
        (SOCKETS, {"Socket"}),
        (VERBS, {"IB"}),
        (SOCKETS + VERBS, {"IB", "Socket"}),
        ("h:1:2 [4] NCCL INFO Channel 06/0 : 36[4] -> 20[4] [send] via NET/IBext_v8/3\n", {"IB"}),
        ("h:1:2 [0] NCCL INFO Ring 00 : 7 -> 8 [receive] via NET/AWS Libfabric/0\n", {"AWS Libfabric"}),
        # What NCCL could use is not what it does: of one node's ranks none leaves it.
        (
            "h:1:2 [0] NCCL INFO Using network IB\nh:1:2 [0] NCCL INFO Channel 00/0 : 0[0] -> 1[1] via SHM/direct\n",
            set(),
        ),
        ("", set()),
    ],
)
def test_transports_are_those_of_connections_that_leave_the_node(log: str, found: set[str]) -> None:
    assert transports(log) == found


def test_why_it_was_not_infiniband() -> None:
    assert complaints(SOCKETS) == ("Failed to open libibverbs.so[.1]",)
    assert complaints(VERBS) == ()
    assert complaints("\nh:1:1 [0] misc/ibvwrap.cc:63 NCCL WARN Failed to open libibverbs.so[.1]\n" * 2) == (
        "Failed to open libibverbs.so[.1]",
    )
    assert complaints("h:1:2 [0] NCCL INFO NET/IB : No device found.\n") == ("NET/IB : No device found.",)


def test_a_library_that_is_there_and_one_that_is_not() -> None:
    assert has_verbs("libc.so.6")
    assert not has_verbs("libnot-there.so.1")
