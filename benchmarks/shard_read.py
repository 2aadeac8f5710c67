"""Random reads from shards, checked, beside litdata, webdataset, MDS and Arrow: `python -m benchmarks.shard_read`.

12,000 samples of 27 kB on average, each with a caption and a small JSON, page cache warm. Ours reads them in random
order, and compares every byte of every sample with its digest in the first pass of a process; no peer checks any. First
pass: from opening the dataset; later passes: the same dataset again. Peers are timed in a later pass, their best. The
map of each shard (see `trackyard.snapshot.shard_map`) is there, as the index that peers make when they write; what
making it costs is not part of this. Source: performance spec sections 8.3, 10.2 (B3), 10.4.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.harness import PEERS, ROOT, Contender, Target, compare, equal_answers, judge, write_record
from benchmarks.shard_read_peer import SAMPLES, Sample, digest, order, samples, timed
from trackyard.row import Media, Row, Turn
from trackyard.snapshot.reader import SnapshotDataset
from trackyard.snapshot.writer import write_dataset

FIRST, LATER = "trackyard, first pass", "trackyard, later passes"
PEER_NAMES = ("litdata", "webdataset", "MDS", "HF arrow")


def make(directory: Path, count: int) -> None:
    """Our shards."""

    def rows() -> Iterator[Row]:
        for number, (image, caption, _) in enumerate(samples(count)):
            turns = (Turn(role="user", content="<|image|> Describe."), Turn(role="assistant", content=caption))
            media = Media(kind="image", data=image, path=f"{number}.jpg", width=640, height=480)
            yield Row(
                id=f"{number:08}",
                task="user_qa",
                media=(media,),
                conversations=(turns,),
                meta={"number": number, "source": "trace"},
            )

    write_dataset(directory, {"train": rows()}, dataset="samples", source={"seed": 0}, licence="CC0-1.0")


def read(dataset: SnapshotDataset, numbers: list[int]) -> Iterator[Sample]:
    for number in numbers:
        record = dataset.record("train", number)
        yield record.media[0], record.contents[1], record.meta


def child(name: str, directory: Path) -> None:
    """Time a pass: from opening on, or with everything open."""
    dataset = SnapshotDataset.open(directory)
    numbers = order(dataset.rows("train"))
    content = digest(read(dataset, numbers))
    timed(lambda: read(SnapshotDataset.open(directory) if name == FIRST else dataset, numbers), content)


def contenders(scratch: Path) -> list[Contender]:
    ours = {"XDG_CACHE_HOME": str(scratch / "cache")}
    return [
        *(
            Contender(
                name=name,
                argv=["benchmarks/shard_read.py", "--child", name, str(scratch / "ours")],
                environment=ours,
            )
            for name in (FIRST, LATER)
        ),
        *(
            Contender(
                name=name,
                argv=["benchmarks/shard_read_peer.py", "--child", name, str(scratch / "peers")],
                peer=True,
            )
            for name in PEER_NAMES
        ),
    ]


def measure(scratch: Path, count: int, rounds: int) -> list[dict[str, Any]]:
    make(scratch / "ours", count)
    if PEERS.is_file():
        argv = [str(PEERS), "benchmarks/shard_read_peer.py", "--make", "--samples", str(count), str(scratch / "peers")]
        subprocess.run(argv, cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, check=True, capture_output=True)
    assert equal_answers({"one": [2, 9, 4, digest([(b"ab", "", "")])], "other": [2, 9, 4, digest([(b"ac", "", "")])]})
    figures = compare(contenders(scratch), metric="cpu_s", rounds=rounds)
    later = {name: dict(found) for name, found in figures.items() if name != FIRST}
    for name in PEER_NAMES:
        if "ours_over_it" in later[name]:
            later[name]["ours_over_it"] = figures[LATER]["rate"] / figures[name]["rate"]
    later[LATER].pop("ours_over_it")
    first = {name: found for name, found in figures.items() if name != LATER}
    return [
        {
            "name": "first pass, every byte checked",
            "unit": "samples/cpu-s",
            "figures": first,
            "targets": judge(first, [Target(peer="litdata", ratio=1.0), Target(peer="webdataset", ratio=10.0)]),
        },
        {
            "name": "later passes, on bytes that were checked",
            "unit": "samples/cpu-s",
            "figures": later,
            "targets": judge(later, [Target(peer="litdata", ratio=1.5), Target(peer="webdataset", ratio=10.0)]),
        },
    ]


def main() -> int:
    """0 if targets are reached and figures steady, 1 if not."""
    parser = argparse.ArgumentParser()
    parser.add_argument("directory", type=Path, nargs="?")
    parser.add_argument("--child", choices=(FIRST, LATER))
    parser.add_argument("--scratch", type=Path, help="where the data are made; a folder in it is removed at the end")
    parser.add_argument("--samples", type=int, default=SAMPLES)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    if given.child:
        child(given.child, given.directory)
        return 0
    with tempfile.TemporaryDirectory(dir=given.scratch) as scratch:
        workloads = measure(Path(scratch), given.samples, given.rounds)
    ours = ("xxhash", "blake3", "pyarrow")
    theirs = ("litdata", "webdataset", "mosaicml-streaming", "datasets", "torch")
    return 0 if write_record("shard_read", workloads, packages=ours, peers=theirs) else 1


if __name__ == "__main__":
    sys.exit(main())
