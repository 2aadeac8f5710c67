"""Samples of the benchmark of resuming, and its peers, which run in an environment without trackyard.

    python benchmarks/resume_peer.py --make DIRECTORY [--samples N]       # the same samples in every peer's form
    python benchmarks/resume_peer.py --child MDS DIRECTORY                # one line of JSON

Every peer goes on from 80 % of an epoch in the way that it offers, and decodes its first batch.
Source: performance spec section 8.7.
"""

from __future__ import annotations

import argparse
import io
import itertools
import json
import os
import pickle
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.measured import report
from benchmarks.shard_read_peer import without_torchvision

SAMPLES = 10_000
SIDE = 96
"""Pixels per side of a BMP: 27 kB."""
BATCH = 16
PER_SHARD = 1_000
SHARE = 0.8
TIMES = {"webdataset": 1, "HF skip": 3, "HF state_dict": 5, "MDS": 1}
"""Resumes that are timed together. MDS goes back to an epoch in a new process only."""


def pictures(count: int) -> Iterator[bytes]:
    """Seeded pictures of noise."""
    source = np.random.default_rng(0)
    for _ in range(count):
        file = io.BytesIO()
        Image.fromarray(source.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)).save(file, "BMP")
        yield file.getvalue()


def caption(number: int) -> str:
    """The text of a sample."""
    return "a red boat on the water " * (1 + number % 4)


def killed_at(samples: int) -> int:
    """The sample at which a run is cut off: 80 % of an epoch, at a batch's beginning."""
    return int(samples * SHARE) // BATCH * BATCH


def make(directory: Path, count: int) -> None:
    """Shards of webdataset and MDS, Parquet for HF, its state at the place of the kill, and what follows there."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    without_torchvision()
    from streaming import MDSWriter

    directory.mkdir(parents=True)
    names = [f"{number:08}" for number in range(count)]
    columns = {"id": "str", "image": "bytes", "caption": "str"}
    with MDSWriter(out=str(directory / "mds"), columns=columns, size_limit=32 << 20) as writer:
        rows: list[dict[str, Any]] = []
        for number, image in enumerate(pictures(count)):
            row = {"id": names[number], "image": image, "caption": caption(number)}
            writer.write(row)
            rows.append(row)
            if len(rows) == PER_SHARD or number == count - 1:
                shard = number // PER_SHARD
                _tar(directory / f"{shard:05}.tar", rows)
                pq.write_table(pa.Table.from_pylist(rows), directory / f"{shard:05}.parquet", row_group_size=100)
                rows = []
    stream = _hf(directory)
    for _ in itertools.islice(stream, killed_at(count)):
        pass
    (directory / "state.pickle").write_bytes(pickle.dumps(stream.state_dict()))
    skip = killed_at(count)
    wanted = {
        name: [one for one, _ in itertools.islice(begin(directory)(0), skip, skip + BATCH)]
        for name, begin in PEERS.items()
    }
    (directory / "wanted.json").write_text(json.dumps({"skip": skip, "first": wanted}))


def _tar(path: Path, rows: list[dict[str, Any]]) -> None:
    with tarfile.open(path, "w") as tar:
        for row in rows:
            for suffix, content in (("bmp", row["image"]), ("txt", row["caption"].encode())):
                entry = tarfile.TarInfo(f"{row['id']}.{suffix}")
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))


def _hf(directory: Path) -> Any:
    import datasets

    files = sorted(str(path) for path in directory.glob("*.parquet"))
    return datasets.load_dataset("parquet", data_files=files, split="train", streaming=True)


def _webdataset(directory: Path) -> Callable[[int], Iterator[tuple[str, bytes]]]:
    import webdataset

    urls = sorted(str(path) for path in directory.glob("*.tar"))
    stream = webdataset.WebDataset(urls, shardshuffle=False)
    return lambda skip: ((one["__key__"], one["bmp"]) for one in itertools.islice(stream, skip, None))


def _hf_skip(directory: Path) -> Callable[[int], Iterator[tuple[str, bytes]]]:
    stream = _hf(directory)
    return lambda skip: ((one["id"], one["image"]) for one in stream.skip(skip))


def _hf_state(directory: Path) -> Callable[[int], Iterator[tuple[str, bytes]]]:
    # The state is of the place of the kill, and was written by a file of ours a minute ago.
    stream, state = _hf(directory), pickle.loads((directory / "state.pickle").read_bytes())

    def resumed(skip: int) -> Iterator[tuple[str, bytes]]:
        if skip:
            stream.load_state_dict(state)
        return ((one["id"], one["image"]) for one in stream)

    return resumed


def _mds(directory: Path) -> Callable[[int], Iterator[tuple[str, bytes]]]:
    without_torchvision()
    from streaming import StreamingDataset

    stream = StreamingDataset(local=str(directory / "mds"), shuffle=True, shuffle_seed=7, batch_size=BATCH)

    def resumed(skip: int) -> Iterator[tuple[str, bytes]]:
        if skip:
            state = stream.state_dict(skip, from_beginning=True)
            stream.load_state_dict(state | {"epoch": 0})
        return ((one["id"], one["image"]) for one in stream)

    return resumed


PEERS = {"webdataset": _webdataset, "HF skip": _hf_skip, "HF state_dict": _hf_state, "MDS": _mds}


def first_batch(samples: Iterator[tuple[str, bytes]]) -> list[str]:
    """Ids of the first batch, its pictures decoded."""
    batch = list(itertools.islice(samples, BATCH))
    np.stack([np.asarray(Image.open(io.BytesIO(image)).convert("RGB")) for _, image in batch])
    return [name for name, _ in batch]


def child(name: str, directory: Path) -> None:
    """Resume as often as `TIMES` says; the answer is whether each first batch is that of an uninterrupted pass."""
    found = json.loads((directory / "wanted.json").read_text())
    resumed = PEERS[name](directory)

    def work() -> tuple[float, Any]:
        right = [first_batch(resumed(found["skip"])) == found["first"][name] for _ in range(TIMES[name])]
        return len(right), all(right)

    report(work)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("directory", type=Path)
    parser.add_argument("--make", action="store_true")
    parser.add_argument("--child", choices=tuple(PEERS))
    parser.add_argument("--samples", type=int, default=SAMPLES)
    given = parser.parse_args()
    if given.make:
        make(given.directory, given.samples)
    else:
        child(given.child, given.directory)
        # A reader thread of an iterator that is left unfinished (pyarrow under `datasets`) aborts the interpreter at
        # its end, after the work and the line about it.
        os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
