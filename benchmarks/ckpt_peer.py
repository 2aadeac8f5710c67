"""Saving and loading by others, without trackyard: `ckpt_peer.py NAME SCRATCH`, with a name of `PEERS`.

The work: 300 fp32 tensors, 456 MB, as of 38 million parameters with two moments. Source: performance spec 9.2.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.measured import report

KINDS = ("master", "exp_avg", "exp_avg_sq")
PARAMETERS = 100
ELEMENTS = 380_000
BYTES = len(KINDS) * PARAMETERS * ELEMENTS * 4


def tensors() -> dict[str, torch.Tensor]:
    """The work: name -> fp32 [ELEMENTS]."""
    torch.set_num_threads(1)
    whole = torch.arange(ELEMENTS, dtype=torch.float32)
    return {
        f"{kind}/layer.{number:03d}.weight": whole * (number + 1) + place
        for place, kind in enumerate(KINDS)
        for number in range(PARAMETERS)
    }


def sums(found: dict[str, torch.Tensor]) -> list[int]:
    """An answer that one changed bit changes: the sum of the bits of every tensor, by name."""
    return [int(found[name].view(torch.int32).sum()) for name in sorted(found)]


def copied(scratch: Path) -> None:
    """The floor of every asynchronous save: a copy into host memory that is there already."""
    live = tensors()
    buffers = {name: torch.zeros_like(tensor) for name, tensor in live.items()}

    def copy() -> None:
        for name, tensor in live.items():
            buffers[name].copy_(tensor)

    copy()
    answer = sums(buffers)

    def work() -> tuple[float, Any]:
        copy()
        return BYTES, answer

    report(work)


def dcp_async(scratch: Path) -> None:
    """torch.distributed.checkpoint with its defaults: the time until training goes on, in its second save."""
    import torch.distributed as dist
    import torch.distributed.checkpoint as dcp

    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT="0", RANK="0", WORLD_SIZE="1")
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    live = tensors()
    first, second = scratch / "dcp-1", scratch / "dcp-2"
    dcp.async_save({"state": live}, checkpoint_id=str(first)).result()
    found = {name: torch.zeros_like(tensor) for name, tensor in live.items()}
    dcp.load({"state": found}, checkpoint_id=str(first))
    answer = sums(found)
    futures = []

    def work() -> tuple[float, Any]:
        futures.append(dcp.async_save({"state": live}, checkpoint_id=str(second)))
        return BYTES, answer

    report(work)
    futures[0].result()
    dist.destroy_process_group()


def safetensors_fsync(scratch: Path) -> None:
    """safetensors, fsync, rename, fsync of the directory: durable, without a digest."""
    from safetensors.torch import load_file, save_file

    live = tensors()

    def save(path: Path) -> None:
        partial = path.with_suffix(".partial")
        save_file(live, partial)
        for place in (partial, scratch):
            handle = os.open(place, os.O_RDONLY)
            os.fsync(handle)
            os.close(handle)
        os.replace(partial, path)
        handle = os.open(scratch, os.O_RDONLY)
        os.fsync(handle)
        os.close(handle)

    save(scratch / "first.safetensors")
    answer = sums(load_file(scratch / "first.safetensors"))

    def work() -> tuple[float, Any]:
        save(scratch / "second.safetensors")
        return BYTES, answer

    report(work)


def torch_load(scratch: Path) -> None:
    """torch.load of what torch.save wrote, weights only, from the page cache."""
    path = scratch / "state.pt"
    if not path.exists():  # the children of all rounds read the same file
        torch.save(tensors(), path)
    answer = sums(torch.load(path))

    def work() -> tuple[float, Any]:
        torch.load(path)
        return BYTES, answer

    report(work)


PEERS: dict[str, Callable[[Path], None]] = {
    "copy into host buffers": copied,
    "DCP async": dcp_async,
    "safetensors + fsync": safetensors_fsync,
    "torch.load": torch_load,
}


if __name__ == "__main__":
    PEERS[sys.argv[1]](Path(sys.argv[2]))
