"""Loading a training state of 456 MB with every byte checked, side by side with torch.load, which checks nothing.

    python -m benchmarks.ckpt_load

Ours hashes the files where they are mapped and copies the tensors into the state that an engine holds; nothing is
changed before everything is proved. torch.load makes tensors and leaves it to others to put them anywhere. Both are
warm. All must find the same bits; of a file with one flipped bit ours must find nothing. Source: performance 9.2, B13.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from benchmarks.ckpt_peer import BYTES, ELEMENTS, KINDS, sums, tensors
from benchmarks.ckpt_stall import IDENTITY, NAMES, PEER, lone, saved, state_of
from benchmarks.harness import ROOT, Contender, Target, Unequal, compare, equal_answers, judge, write_record
from benchmarks.measured import report


def ours(scratch: Path, *, flaw: bool) -> None:
    """Child. flaw: one bit of the file is flipped, for the negative control."""
    from trackyard.errors import CheckpointError
    from trackyard.train.checkpoint import directory_name
    from trackyard.train.resume import load_checkpoint

    path = scratch / "checkpoints" / directory_name(1)
    if flaw:
        _, path = saved(scratch / "flawed", tensors())
        with open(path / "state-00000.safetensors", "r+b") as handle:
            handle.seek(BYTES // 2)
            byte = handle.read(1)[0]
            handle.seek(BYTES // 2)
            handle.write(bytes([byte ^ 1]))
    found = {f"{kind}/{name}": torch.zeros(ELEMENTS) for kind in KINDS for name in NAMES}
    state = state_of(found)

    def load() -> str | None:
        try:
            load_checkpoint(path, state, IDENTITY, ranks=lone())
        except CheckpointError as error:
            return error.what
        return None

    answer = load() or sums(found)

    def work() -> tuple[float, Any]:
        load()
        return BYTES, answer

    report(work)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scratch", type=Path, help="folder on the disk to measure; a temporary one without it")
    parser.add_argument("--child", choices=("load", "flaw"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        ours(given.scratch, flaw=given.child == "flaw")
        return 0
    scratch = Path(tempfile.mkdtemp(dir=given.scratch or ROOT, prefix=".bench-ckpt-"))
    try:
        mine = Contender(
            name="trackyard, every byte checked", argv=[__file__, "--child", "load", "--scratch", str(scratch)]
        )
        peer = Contender(name="torch.load", argv=[PEER, "torch.load", str(scratch)])
        saved(scratch, tensors())
        flawed = Contender(name="flawed", argv=[__file__, "--child", "flaw", "--scratch", str(scratch)])
        if equal_answers({"flawed": flawed.run()["answer"], peer.name: peer.run()["answer"]}) is None:
            raise Unequal("a flipped bit was not noticed: the comparison proves nothing")
        figures = compare([mine, peer], metric="wall_s", rounds=given.rounds)
    finally:
        shutil.rmtree(scratch)
    workload = {
        "name": "456 MB of fp32 tensors, from the page cache into place",
        "unit": "bytes/s",
        "figures": figures,
        "targets": judge(figures, [Target(peer="torch.load", ratio=1 / 1.2)]),
    }
    return 0 if write_record("ckpt_load", [workload], packages=["torch", "blake3"]) else 1


if __name__ == "__main__":
    sys.exit(main())
