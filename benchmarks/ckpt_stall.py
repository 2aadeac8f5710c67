"""Saving a training state of 456 MB: how long training stands still, and how long until it is safe on the disk.

    python -m benchmarks.ckpt_stall

Ours copies the state into host buffers and goes on; a thread writes, hashes, fsyncs, writes the manifest and the
marker. Beside it: the bare copy, torch.distributed.checkpoint's asynchronous save, and a synchronous save with
safetensors and fsync. Before anything is timed every contender reads back what it saved, and all must have the same
bits; a state with one changed element must be noticed. Every figure is of a second save. Source: performance 9.2, B12.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.ckpt_peer import BYTES, ELEMENTS, KINDS, PARAMETERS, sums, tensors
from benchmarks.harness import ROOT, Contender, Target, Unequal, compare, equal_answers, judge, write_record
from benchmarks.measured import report

IDENTITY = {"run_id": "benchmark"}
NAMES = [f"layer.{number:03d}.weight" for number in range(PARAMETERS)]
PEER = str(Path(__file__).with_name("ckpt_peer.py"))


def state_of(live: dict[str, torch.Tensor]) -> Any:
    """The tensors as the training state of one rank."""
    from trackyard.train.state import Fragment, TrainingState

    fragments = tuple(
        Fragment(
            name=name, shape=(ELEMENTS,), start=0, group=0, tensors={kind: live[f"{kind}/{name}"] for kind in KINDS}
        )
        for name in NAMES
    )
    shapes = dict.fromkeys(NAMES, (ELEMENTS,))
    return TrainingState(shapes=shapes, steps=(torch.zeros(()),), held=fragments, written=fragments)


def lone() -> Any:
    """One rank, without a process group."""
    from trackyard.train.ranks import Ranks

    return Ranks(rank=0, world=1, context=1, context_group=None, host_group=None)  # type: ignore[arg-type]


def saved(scratch: Path, live: dict[str, torch.Tensor]) -> tuple[Any, Path]:
    """A saver and its first checkpoint."""
    from trackyard.train.saver import Saver

    saver = Saver(scratch / "checkpoints", ranks=lone(), state=state_of(live), identity=IDENTITY, keep=1)
    saver.save(1, {"plan": "p"})
    return saver, saver.finish()


def ours(mode: str, scratch: Path) -> None:
    """Child. mode: blocked, durable, or flaw (one element changed, for the negative control)."""
    from trackyard.train.checkpoint import COMPLETE, directory_name
    from trackyard.train.resume import load_checkpoint

    live = tensors()
    if mode == "flaw":
        live["exp_avg/layer.007.weight"][5] += 1
    saver, first = saved(scratch, live)
    found = {name: torch.zeros_like(tensor) for name, tensor in live.items()}
    load_checkpoint(first, state_of(found), IDENTITY, ranks=lone())
    answer = sums(found)
    del found
    marker = scratch / "checkpoints" / directory_name(2) / COMPLETE

    def work() -> tuple[float, Any]:
        saver.save(2, {"plan": "p"})
        while mode == "durable" and not marker.is_file():
            time.sleep(0.001)
        return BYTES, answer

    report(work)
    saver.finish()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scratch", type=Path, help="folder on the disk to measure; a temporary one without it")
    parser.add_argument("--child", choices=("blocked", "durable", "flaw"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        ours(given.child, given.scratch)
        return 0
    scratch = Path(tempfile.mkdtemp(dir=given.scratch or ROOT, prefix=".bench-ckpt-"))
    try:
        return measure(scratch, given.rounds)
    finally:
        shutil.rmtree(scratch)


def measure(scratch: Path, rounds: int) -> int:
    """Both workloads, and the record."""

    def mine(mode: str) -> Contender:
        return Contender(name="trackyard", argv=[__file__, "--child", mode, "--scratch", folder(f"ours-{mode}")])

    def peer(name: str) -> Contender:
        return Contender(name=name, argv=[PEER, name, folder(name.split()[0])])

    def folder(name: str) -> str:
        (scratch / name).mkdir(exist_ok=True)
        return str(scratch / name)

    floor = peer("copy into host buffers")
    answers = {"flawed": mine("flaw").run()["answer"], floor.name: floor.run()["answer"]}
    if equal_answers(answers) is None:
        raise Unequal("a changed element was not noticed: the comparison proves nothing")
    blocked = compare([mine("blocked"), floor, peer("DCP async")], metric="wall_s", rounds=rounds)
    durable = compare([mine("durable"), peer("safetensors + fsync")], metric="wall_s", rounds=rounds)
    workloads = [
        {
            "name": "456 MB of fp32 tensors, training stands still",
            "unit": "bytes/s",
            "figures": blocked,
            "targets": judge(
                blocked, [Target(peer=floor.name, ratio=1 / 1.5), Target(peer="DCP async", ratio=1 / 0.8)]
            ),
        },
        {
            "name": "456 MB of fp32 tensors, until it is durable",
            "unit": "bytes/s",
            "figures": durable,
            "targets": judge(durable, [Target(peer="safetensors + fsync", ratio=1 / 1.2)]),
        },
    ]
    return 0 if write_record("ckpt_stall", workloads, packages=["torch", "safetensors", "blake3"]) else 1


if __name__ == "__main__":
    sys.exit(main())
