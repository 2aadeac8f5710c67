"""Read, decode, resize and collate with two workers, beside files and webdataset: `python -m benchmarks.image_loader`.

640 JPEGs of mixed sizes to 384 x 384, batches of 32, page cache warm. Ours reads rows of a snapshot in random order,
all checked, and decodes in two threads; peers use torch's DataLoader with two workers. Wall time. Answers are means of
a patch of every picture, which may differ by 2 of 255. Source: performance spec sections 8.2, 10.2 (B4).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.harness import Contender, Target, compare, judge, write_record
from benchmarks.image_loader_peer import BATCH, IMAGES, READERS, SIDE, WORKERS, images, light
from benchmarks.image_loader_peer import make as make_for_peers
from benchmarks.measured import report
from trackyard.feed.resized import decode_resized
from trackyard.row import Media, Row, Turn
from trackyard.snapshot.reader import SnapshotDataset
from trackyard.snapshot.writer import write_dataset

OURS = "trackyard"
TOLERANCE = 2.0
AHEAD = 4
"""Batches in the making."""


def make(directory: Path, count: int) -> None:
    turns = (Turn(role="user", content="<|image|> Describe."), Turn(role="assistant", content="A picture."))
    rows = (
        Row(
            id=f"{number}",
            task="user_qa",
            media=(Media(kind="image", data=data, path=f"{number}.jpg", width=1, height=1),),
            conversations=(turns,),
        )
        for number, data in enumerate(images(count))
    )
    write_dataset(directory, {"train": rows}, dataset="pictures", source={"seed": 0}, licence="CC0-1.0")


def read(directory: Path) -> Iterator[torch.Tensor]:
    """Batches, uint8 [32, 384, 384, 3], in order of a permutation; pictures are decoded ahead by two threads."""
    dataset = SnapshotDataset.open(directory)
    numbers = np.random.default_rng(1).permutation(dataset.rows("train")).tolist()

    def picture(number: int) -> Any:
        medium = dataset.row("train", number).media[0]
        return decode_resized(medium.data, medium.path, SIDE, SIDE)

    with ThreadPoolExecutor(WORKERS) as pool:
        making: deque[list[Future[Any]]] = deque()
        for start in range(0, len(numbers), BATCH):
            making.append([pool.submit(picture, number) for number in numbers[start : start + BATCH]])
            if len(making) > AHEAD:
                yield torch.from_numpy(np.stack([future.result() for future in making.popleft()]))
        while making:
            yield torch.from_numpy(np.stack([future.result() for future in making.popleft()]))


def agree(answers: Mapping[str, Any]) -> str | None:
    """What is not the same picture within the tolerance."""
    reference = answers["files + PIL"] if "files + PIL" in answers else answers[OURS]
    for name, means in answers.items():
        if len(means) != len(reference):
            return f"{name} gave {len(means)} pictures, {len(reference)} are meant"
        apart = max(abs(one - other) for one, other in zip(means, reference, strict=True))
        if apart > TOLERANCE:
            return f"{name} is {apart:.1f} of 255 apart"
    return None


def measure(scratch: Path, count: int, rounds: int) -> dict[str, Any]:
    make(scratch / "ours", count)
    make_for_peers(scratch / "peers", count)
    assert agree({OURS: [1.0, 2.0], "files + PIL": [1.0, 5.0]}), "the comparison finds nothing"
    peer = "benchmarks/image_loader_peer.py"
    figures = compare(
        [
            Contender(
                name=OURS,
                argv=["benchmarks/image_loader.py", "--child", OURS, str(scratch / "ours")],
                environment={"XDG_CACHE_HOME": str(scratch / "cache")},
            ),
            *(
                Contender(name=name, argv=[peer, "--child", name, str(scratch / "peers")], peer=True)
                for name in READERS
            ),
        ],
        metric="wall_s",
        agree=agree,
        rounds=rounds,
    )
    targets = [("files + PIL", 2.2), ("webdataset + PIL", 2.2), ("webdataset + turbo", 1.0)]
    return {
        "name": f"{count} pictures of mixed sizes, two workers, batches of {BATCH}",
        "unit": "images/s",
        "figures": figures,
        "targets": judge(figures, [Target(peer=name, ratio=ratio) for name, ratio in targets]),
    }


def main() -> int:
    """0 if targets are reached and figures steady, 1 if not."""
    parser = argparse.ArgumentParser()
    parser.add_argument("directory", type=Path, nargs="?")
    parser.add_argument("--child", choices=(OURS,))
    parser.add_argument("--scratch", type=Path, help="where the data are made; a folder in it is removed at the end")
    parser.add_argument("--images", type=int, default=IMAGES)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    if given.child:
        report(lambda: light(read(given.directory)))
        return 0
    with tempfile.TemporaryDirectory(dir=given.scratch) as scratch:
        workload = measure(Path(scratch), given.images, given.rounds)
    peers = ("webdataset", "simplejpeg", "pillow", "torch")
    return 0 if write_record("image_loader", [workload], packages=("simplejpeg", "pillow"), peers=peers) else 1


if __name__ == "__main__":
    sys.exit(main())
