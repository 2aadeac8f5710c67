"""From nothing to a first batch of 32 rows out of 120 datasets in 1,280 shards: `python -m benchmarks.startup`.

Beside HF load_dataset on the same files, and MDS. Wall time of opening and reading, imports included, since each
contender imports what it needs inside the time that counts; memory is that of the process afterwards. HF's Arrow copies
and our shard maps are there from an earlier start. Source: performance spec section 10.2 (B17).
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.startup_peer import (
    DATASETS,
    READERS,
    ROWS_PER_SHARD,
    first_batch,
    media_of,
    name_of,
    shards_of,
    timed,
)

OURS = "trackyard"


def ours(directory: Path) -> list[bytes]:
    from trackyard.snapshot.reader import open_snapshot

    opened = open_snapshot(directory / "ours", None)
    return [opened[name_of(dataset)].row("train", row).media[0].data for dataset, row in first_batch()]


def make(directory: Path) -> None:
    """Our snapshot, whose Parquet files HF reads as well; a shard closes once it holds one row group."""
    from trackyard.row import Media, Row, Turn
    from trackyard.snapshot import writer

    writer.ROWS_WITH_IMAGES = ROWS_PER_SHARD
    turns = (Turn(role="user", content="<|image|>?"), Turn(role="assistant", content="yes"))
    for dataset in range(DATASETS):
        rows = (
            Row(
                id=f"{row}",
                task="user_qa",
                media=(Media(kind="image", data=media_of(dataset, row), path="x.jpg", width=8, height=8),),
                conversations=(turns,),
            )
            for row in range(shards_of(dataset) * ROWS_PER_SHARD)
        )
        writer.write_dataset(
            directory / "ours" / name_of(dataset),
            {"train": rows},
            dataset=name_of(dataset),
            source={"seed": 0},
            licence="CC0-1.0",
            shard_bytes=1,
        )


def measure(scratch: Path, rounds: int) -> dict[str, Any]:
    from benchmarks.harness import PEERS, ROOT, Contender, Target, compare, judge

    make(scratch)
    if PEERS.is_file():
        argv = [str(PEERS), "benchmarks/startup_peer.py", "--make", str(scratch)]
        subprocess.run(argv, cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, check=True, capture_output=True)
    peer = "benchmarks/startup_peer.py"
    figures = compare(
        [
            Contender(
                name=OURS,
                argv=["benchmarks/startup.py", "--child", OURS, str(scratch)],
                environment={"XDG_CACHE_HOME": str(scratch / "cache")},
            ),
            *(Contender(name=name, argv=[peer, "--child", name, str(scratch)], peer=True) for name in READERS),
        ],
        metric="wall_s",
        rounds=rounds,
    )
    rate = figures[OURS]["rate"]
    second = {"peer": "one second", "target": 1.0, "ratio": rate, "verdict": "reached" if rate >= 1 else "missed"}
    return {
        "name": f"first batch out of {DATASETS} datasets",
        "unit": "starts/s",
        "figures": figures,
        "targets": [*judge(figures, [Target(peer="HF load_dataset", ratio=3.34)]), second],
    }


def main() -> int:
    """0 if targets are reached and figures steady, 1 if not."""
    parser = argparse.ArgumentParser()
    parser.add_argument("directory", type=Path, nargs="?")
    parser.add_argument("--child", choices=(OURS,))
    parser.add_argument("--scratch", type=Path, help="where the data are made; a folder in it is removed at the end")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    if given.child:
        timed(ours, given.directory)
        return 0
    from benchmarks.harness import write_record

    with tempfile.TemporaryDirectory(dir=given.scratch) as scratch:
        workload = measure(Path(scratch), given.rounds)
    return (
        0 if write_record("startup", [workload], packages=("pyarrow",), peers=("datasets", "mosaicml-streaming")) else 1
    )


if __name__ == "__main__":
    sys.exit(main())
