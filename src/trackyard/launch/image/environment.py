"""What a command in an image sees of the host's environment, and where it keeps what it compiles.

Sources: hpc spec sections 1.3, 1.4 and 10; pains 13, 14 and 15.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from trackyard.digest import SHORT
from trackyard.errors import EnvironmentLacking
from trackyard.launch.mounts import MOUNTS, mount_of

PASSING = frozenset(
    ("CUBLAS_WORKSPACE_CONFIG", "CUDA_DEVICE_ORDER", "CUDA_LAUNCH_BLOCKING", "CUDA_VISIBLE_DEVICES",
     "DVC_NO_ANALYTICS", "GROUP_RANK", "GROUP_WORLD_SIZE", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS",
     "PYTHONFAULTHANDLER", "PYTHONHASHSEED", "PYTHONUNBUFFERED", "RANK", "ROLE_RANK", "ROLE_WORLD_SIZE", "WORLD_SIZE")
)  # fmt: skip
PASSING_PREFIXES = (
    "GLOO_", "LOCAL_", "MASTER_", "MLFLOW_", "NCCL_", "OMP_", "SLURM_", "TORCHELASTIC_", "TORCH_DISTRIBUTED_",
    "TORCH_NCCL_", "TRACKYARD_",
)  # fmt: skip
"""All else stays outside: PYTHONPATH, LD_LIBRARY_PATH, virtual environments, certificates, tokens of hubs."""


def passed_on(environment: Mapping[str, str]) -> dict[str, str]:
    """What of the host's environment a command inside sees."""
    return {
        name: value
        for name, value in environment.items()
        if name in PASSING or (name.startswith(PASSING_PREFIXES) and name not in PASSING_PREFIXES)
    }


def offline() -> dict[str, str]:
    """Nothing in a job calls a hub or reports its use.

    Of the hub's own switches only this one: the others of its family override it for one library each (section 10).
    """
    return {"HF_HUB_OFFLINE": "1", "DVC_NO_ANALYTICS": "1", "MLFLOW_DISABLE_TELEMETRY": "true"}


def cache_variables(disk: Path, digest: str, *, mounts: Path = MOUNTS) -> dict[str, str]:
    """Where triton, inductor and others keep what they compile: below `disk`, apart for each image.

    disk: a directory of the node's own disk. EnvironmentLacking where it lies on a file system that nodes share: there
    caches break, or give one node what another one has half written.
    """
    mount = mount_of(disk, mounts)
    if mount.shared:
        raise EnvironmentLacking(
            what=f"{disk} lies on {mount.point}, a file system of kind {mount.kind}, which nodes share",
            why="caches of triton, inductor and torch extensions crash or stall on shared file systems",
            fix="name a directory of the node's own disk: export TMPDIR=<it>, or another variable as "
            "`local_disk_variable` of the site",
        )
    folder = cache_folder(disk, digest)
    return {
        name: str(folder / below)
        for name, below in (
            ("TRITON_CACHE_DIR", "triton"),
            ("TORCHINDUCTOR_CACHE_DIR", "inductor"),
            ("TORCH_EXTENSIONS_DIR", "extensions"),
            ("CUDA_CACHE_PATH", "cuda"),
            ("MPLCONFIGDIR", "matplotlib"),
            # Whatever else looks for ~/.cache: there is no home directory inside.
            ("XDG_CACHE_HOME", "cache"),
        )
    }


def cache_folder(disk: Path, digest: str) -> Path:
    """Of one image on one node, for this user: `digest` is the image's, with its kind."""
    return disk / f"trackyard-{os.getuid()}" / digest.partition(":")[2][:SHORT]
