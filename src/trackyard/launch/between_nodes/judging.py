"""What was measured between nodes against what the site says of its network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from trackyard.launch.between_nodes.measuring import Measured
from trackyard.launch.between_nodes.nccl_log import VERBS, VERBS_PACKAGES
from trackyard.launch.sites import FOLDER, Site


@dataclass(frozen=True, kw_only=True, slots=True)
class Lack:
    """What keeps the network from being proved, and what mends it."""

    what: str
    fix: str


def lacks(measured: Measured, site: Site) -> list[Lack]:
    """Everything that is not as `site` says; empty where it is proved, or where the site says nothing."""
    network = site.network
    if network.transport is None and network.min_gbyte_per_s is None:
        return []
    if len(measured.nodes) < 2:
        return [
            Lack(
                what=f"all {len(measured.hosts)} ranks are on {measured.nodes[0]}: nothing went between nodes",
                fix="start it on two: srun --nodes=2 --ntasks-per-node=1 … trackyard smoke",
            )
        ]
    return [*_of_transport(measured, site), *_of_speed(measured, site)]


def _of_transport(measured: Measured, site: Site) -> Iterator[Lack]:
    expected = site.network.transport
    if expected is None:
        return
    if measured.backend != "nccl":
        yield Lack(
            what=f"the ranks talk by {measured.backend} over {' and '.join(measured.transports)}: they see no GPU",
            fix="ask for GPUs (srun --gpus-per-node=…), and inside an image for --nv: NCCL works between GPUs only",
        )
    elif set(measured.transports) != {expected}:
        found = " and ".join(measured.transports) or "nothing that its log names"
        said = f" ({'; '.join(measured.complaints)})" if measured.complaints else ""
        yield Lack(
            what=f"NCCL talks over {found} between nodes, and not over {expected}{said}",
            fix=f"see network.environment of {FOLDER}/{site.name}.yaml (NCCL_IB_HCA, NCCL_SOCKET_IFNAME), and what "
            "`ibstat` says on a node",
        )
    if expected == "IB" and measured.without_verbs:
        yield Lack(
            what=f"{VERBS} cannot be loaded on {', '.join(measured.without_verbs)}: NCCL takes sockets without a word",
            fix=f"install {VERBS_PACKAGES}; where an image is used, in it: "
            f"trackyard image build {site.image or 'train'}",
        )


def _of_speed(measured: Measured, site: Site) -> Iterator[Lack]:
    least = site.network.min_gbyte_per_s
    if least is not None and measured.bus_gbyte_per_s < least:
        yield Lack(
            what=f"{measured.bus_gbyte_per_s:.3g} GB/s, and site {site.name} says at least {least:g} GB/s",
            fix="run it once more on other nodes; if these stay slow, tell the site's operators their names",
        )
