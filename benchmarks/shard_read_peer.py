"""Samples of the benchmark of shard readers, and its peers, which run in an environment without trackyard.

    python benchmarks/shard_read_peer.py --make DIRECTORY [--samples N]   # the same samples in every peer's form
    python benchmarks/shard_read_peer.py --child litdata DIRECTORY        # one line of JSON

Source: performance spec section 10.4, trace "bytes".
"""

from __future__ import annotations

import argparse
import io
import random
import sys
import tarfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from benchmarks.measured import report

SAMPLES = 12_000
PER_SHARD = 1_000
Sample = tuple[Any, str | bytes, str | bytes]
"""Image, caption, a small JSON."""


def samples(count: int) -> Iterator[tuple[bytes, str, str]]:
    """The seeded samples: incompressible bytes, 27 kB on average."""
    source = np.random.default_rng(0)
    for number in range(count):
        size = int(np.clip(source.lognormal(10.1, 0.5), 4_000, 120_000))
        caption = "a red boat on the water " * int(source.integers(2, 10))
        yield source.bytes(size), caption, f'{{"number": {number}, "source": "trace"}}'


def order(count: int) -> list[int]:
    """The order of random reads."""
    numbers = list(range(count))
    random.Random(1).shuffle(numbers)
    return numbers


def timed(read: Callable[[], Iterable[Sample]], content: int) -> None:
    """Report a pass: its samples, and as its answer how much they hold, and the digest of all `content`."""

    def work() -> tuple[float, Any]:
        count = total = letters = 0
        for image, caption, meta in read():
            count += 1
            total += len(image)
            letters += len(caption) + len(meta)
        return count, [count, total, letters, content]

    report(work)


def digest(read: Iterable[Sample]) -> int:
    """A digest of all content, of any order."""
    found = 0
    for image, caption, meta in read:
        texts = [text.encode() if isinstance(text, str) else text for text in (caption, meta)]
        found += zlib.crc32(texts[1], zlib.crc32(texts[0], zlib.crc32(image)))
    return found


def without_torchvision() -> None:
    """Some peers import torchvision for datasets that nobody asks for here; a module that has anything stands in."""

    class Anything(ModuleType):
        __path__ = ()

        def __getattr__(self, name: str) -> Any:
            if name.startswith("__"):
                raise AttributeError(name)
            return type(name, (), {})

    for name in ("", ".datasets", ".transforms", ".transforms.functional", ".transforms.v2", ".io", ".models"):
        module = Anything(f"torchvision{name}")
        module.__spec__ = ModuleSpec(module.__name__, None)
        sys.modules[module.__name__] = module


def make_webdataset(directory: Path, count: int) -> None:
    with ExitStack() as shards:
        for number, (image, *texts) in enumerate(samples(count)):
            if number % PER_SHARD == 0:
                shards.close()
                shard = shards.enter_context(tarfile.open(directory / f"{number // PER_SHARD:05}.tar", "w"))
            for ending, data in zip(("jpg", "txt", "json"), (image, *(text.encode() for text in texts)), strict=True):
                member = tarfile.TarInfo(f"{number:08}.{ending}")
                member.size = len(data)
                shard.addfile(member, io.BytesIO(data))


def read_webdataset(directory: Path) -> Callable[[], Iterator[Sample]]:
    import webdataset

    shards = sorted(map(str, directory.glob("*.tar")))
    dataset = webdataset.WebDataset(shards, shardshuffle=len(shards), seed=1).shuffle(1000)
    return lambda: ((sample["jpg"], sample["txt"], sample["json"]) for sample in dataset)


def make_litdata(directory: Path, count: int) -> None:
    from litdata.streaming.writer import BinaryWriter

    writer = BinaryWriter(str(directory), chunk_size=PER_SHARD)
    for number, (image, caption, meta) in enumerate(samples(count)):
        writer[number] = {"image": image, "caption": caption, "meta": meta}
    writer.done()
    writer.merge(1)


def read_litdata(directory: Path) -> Callable[[], Iterator[Sample]]:
    from litdata import StreamingDataset

    dataset = StreamingDataset(str(directory), shuffle=True)
    return lambda: ((sample["image"], sample["caption"], sample["meta"]) for sample in dataset)


def make_mds(directory: Path, count: int) -> None:
    without_torchvision()
    from streaming import MDSWriter

    columns = {"image": "bytes", "caption": "str", "meta": "str"}
    with MDSWriter(out=str(directory), columns=columns, size_limit=27_000 * PER_SHARD) as writer:
        for image, caption, meta in samples(count):
            writer.write({"image": image, "caption": caption, "meta": meta})


def read_mds(directory: Path) -> Callable[[], Iterator[Sample]]:
    without_torchvision()
    from streaming import StreamingDataset

    dataset = StreamingDataset(local=str(directory), batch_size=1)
    numbers = order(len(dataset))
    return lambda: (
        (sample["image"], sample["caption"], sample["meta"]) for sample in map(dataset.__getitem__, numbers)
    )


def make_arrow(directory: Path, count: int) -> None:
    import datasets
    import pyarrow

    image, caption, meta = (list(values) for values in zip(*samples(count), strict=True))
    datasets.Dataset(pyarrow.table({"image": image, "caption": caption, "meta": meta})).save_to_disk(str(directory))


def read_arrow(directory: Path) -> Callable[[], Iterator[Sample]]:
    import datasets

    dataset = datasets.load_from_disk(str(directory))
    numbers = order(len(dataset))
    return lambda: (
        (sample["image"], sample["caption"], sample["meta"]) for sample in map(dataset.__getitem__, numbers)
    )


PEERS = {
    "litdata": (make_litdata, read_litdata),
    "webdataset": (make_webdataset, read_webdataset),
    "MDS": (make_mds, read_mds),
    "HF arrow": (make_arrow, read_arrow),
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("directory", type=Path)
    parser.add_argument("--make", action="store_true")
    parser.add_argument("--child", choices=PEERS)
    parser.add_argument("--samples", type=int, default=SAMPLES)
    given = parser.parse_args()
    if given.make:
        for name, (make, _) in PEERS.items():
            (given.directory / name).mkdir(parents=True)
            make(given.directory / name, given.samples)
        return
    read = PEERS[given.child][1](given.directory / given.child)
    timed(read, digest(read()))  # the digest is a pass too, so that files are open and warm when it counts


if __name__ == "__main__":
    main()
