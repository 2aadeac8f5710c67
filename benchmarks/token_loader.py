"""Shuffled batches of token windows beside HF datasets, nanoGPT's way and MDS: `python -m benchmarks.token_loader`.

50 M tokens, windows of 2,048, batches of 8 as int64, page cache warm. Ours opens the shards inside the time that counts
and compares every block with its digest; no peer checks any. Source: performance spec sections 8.5, 10.2 (B5).
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import PEERS, ROOT, Contender, Target, Unequal, compare, equal_answers, judge, write_record
from benchmarks.measured import report
from benchmarks.token_loader_peer import BATCH, LENGTH, READERS, STREAM, TOKENS, VOCABULARY, digest, light
from trackyard.feed.token_windows import TokenWindows
from trackyard.plan.permutation import permute
from trackyard.snapshot.token_shards import TokenShards
from trackyard.snapshot.token_writer import write_tokens

OURS = "trackyard"


def make(directory: Path) -> None:
    """The stream for the peers, and our shards of the same; 10 tokens more, so that the last window has its target."""
    source = np.random.default_rng(0)
    stream = source.integers(0, VOCABULARY, TOKENS // (LENGTH * BATCH) * (LENGTH * BATCH) + 10).astype("<u2")
    stream.tofile(directory / STREAM)
    ends = np.cumsum(source.integers(100, 2_000, 60_000))
    documents = np.split(stream, ends[ends < stream.size])
    write_tokens(
        directory / "ours",
        documents,
        dataset="stream",
        source={"seed": 0},
        licence="CC0-1.0",
        tokenizer="none",
        vocabulary=VOCABULARY,
    )


def read(directory: Path) -> Iterator[Any]:
    windows = TokenWindows(TokenShards.open(directory / "ours"), length=LENGTH, batch=BATCH, seed=1)
    return map(windows.batch, range(windows.windows // BATCH))


def contenders(scratch: Path, *arguments: str) -> list[Contender]:
    ours = Contender(name=OURS, argv=["benchmarks/token_loader.py", "--child", OURS, str(scratch), *arguments])
    peer = "benchmarks/token_loader_peer.py"
    return [
        ours,
        *(Contender(name=name, argv=[peer, "--child", name, str(scratch), *arguments], peer=True) for name in READERS),
    ]


def measure(scratch: Path, rounds: int) -> dict[str, Any]:
    make(scratch)
    if PEERS.is_file():
        argv = [str(PEERS), "benchmarks/token_loader_peer.py", "--make", str(scratch)]
        subprocess.run(argv, cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, check=True, capture_output=True)
    whole = {one.name: one.run()["answer"] for one in contenders(scratch, "--digest") if one.interpreter is not None}
    problem = equal_answers(whole) or (
        None if equal_answers(whole | {"control": 0}) else "the comparison finds nothing"
    )
    if problem:
        raise Unequal(f"unequal windows, so nothing is timed: {problem}")
    figures = compare(contenders(scratch), metric="cpu_s", rounds=rounds)
    return {
        "name": f"50 M tokens, windows of {LENGTH}, batches of {BATCH}, shuffled",
        "unit": "tokens/cpu-s",
        "figures": figures,
        "targets": judge(figures, [Target(peer="HF arrow", ratio=3.0), Target(peer="MDS", ratio=20.0)]),
    }


def main() -> int:
    """0 if targets are reached and figures steady, 1 if not."""
    parser = argparse.ArgumentParser()
    parser.add_argument("directory", type=Path, nargs="?")
    parser.add_argument("--child", choices=(OURS,))
    parser.add_argument("--digest", action="store_true")
    parser.add_argument("--scratch", type=Path, help="where the data are made; a folder in it is removed at the end")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    if given.child:
        if given.digest:
            report(lambda: (1, digest(read(given.directory))))
        else:
            permute(np.zeros(1, dtype=np.int64), 2, 0)  # loads compiled code: an import, which no contender pays for
            report(lambda: light(read(given.directory)))
        return 0
    with tempfile.TemporaryDirectory(dir=given.scratch) as scratch:
        workload = measure(Path(scratch), given.rounds)
    peers = ("datasets", "mosaicml-streaming", "torch")
    return 0 if write_record("token_loader", [workload], packages=("numpy", "xxhash"), peers=peers) else 1


if __name__ == "__main__":
    sys.exit(main())
