"""What NCCL says of its network in its own log, the only place where it does.

Form of the lines: transport/net.cc, net_ib and net_socket of NCCL 2.10 to 2.27; nccl#367, #707, #1410 and #1814.
"""

from __future__ import annotations

import ctypes
import re
from pathlib import Path

VERBS = "libibverbs.so.1"
VERBS_PACKAGES = "libibverbs1 rdma-core"
"""What it is in, on Debian and Ubuntu."""

_CHANNEL = re.compile(r"NCCL INFO .*(?:Channel|Ring) .*\[(?:send|receive)\] via NET/([^/\s]+(?: [^/\s]+)*)/")
_COMPLAINTS = re.compile(r"NCCL (?:INFO|WARN) (Failed to open libibverbs\S*|NET/IB : No device found\.?)")


def variables(folder: Path) -> dict[str, str]:
    """What makes NCCL write its log into `folder`, a file for each process; read when it starts."""
    return {
        "NCCL_DEBUG": "INFO",
        "NCCL_DEBUG_SUBSYS": "INIT,NET",
        "NCCL_DEBUG_FILE": str(folder / "nccl.%h.%p.log"),
    }


def transports(log: str) -> frozenset[str]:
    """Transports of the connections that leave a node: IB, Socket, or a plug-in's own name; none within one node.

    IBext_v8 and its like are InfiniBand by NVIDIA's plug-in.
    """
    return frozenset("IB" if name.startswith("IB") else name for name in _CHANNEL.findall(log))


def complaints(log: str) -> tuple[str, ...]:
    """Why InfiniBand was not used, in NCCL's words."""
    return tuple(dict.fromkeys(_COMPLAINTS.findall(log)))


def has_verbs(library: str = VERBS) -> bool:
    """Whether this process, and so NCCL in it, can load the verbs library. Without it NCCL takes sockets in silence."""
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True
