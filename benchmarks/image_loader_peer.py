"""Peers of the benchmark of image loading, in an environment without trackyard: torch's DataLoader with 2 workers.

    python benchmarks/image_loader_peer.py --make DIRECTORY
    python benchmarks/image_loader_peer.py --child "webdataset + turbo" DIRECTORY

Read, decode, resize to 384 x 384, collate 32. Source: performance spec sections 8.2, 10.2 (B4).
"""

from __future__ import annotations

import argparse
import importlib
import io
import tarfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.measured import report

IMAGES, BATCH, WORKERS, SIDE = 640, 32, 2, 384
SIZES = ((1024, 768), (640, 480), (1280, 960), (800, 600), (768, 1024), (500, 375))


def images(count: int) -> Iterator[bytes]:
    """Seeded JPEGs of mixed sizes: smooth shapes under noise, quality 88."""
    source = np.random.default_rng(0)
    for _ in range(count):
        width, height = SIZES[int(source.integers(len(SIZES)))]
        coarse = Image.fromarray(source.integers(0, 256, (24, 32, 3), dtype=np.uint8)).resize((width, height), 3)
        noise = source.integers(-8, 9, (height, width, 1), dtype=np.int16)
        picture = Image.fromarray(np.clip(np.asarray(coarse, np.int16) + noise, 0, 255).astype(np.uint8))
        out = io.BytesIO()
        picture.save(out, "JPEG", quality=88)
        yield out.getvalue()


def light(batches: Iterable[Any]) -> tuple[float, Any]:
    """Go over batches [n, 384, 384, 3]: images, and the mean of a patch of each, in ascending order."""
    means: list[float] = []
    for batch in batches:
        means += np.asarray(batch[:, 100:132, 100:132]).mean(axis=(1, 2, 3)).tolist()
    return len(means), sorted(means)


def decode_pil(data: bytes) -> Any:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB").resize((SIDE, SIDE), Image.Resampling.BICUBIC))


def decode_turbo(data: bytes) -> Any:
    import cv2
    import simplejpeg

    # Scaled while it is decoded, then by OpenCV: the fastest way that is known of this peer.
    picture = simplejpeg.decode_jpeg(data, min_height=SIDE, min_width=SIDE)
    return cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_AREA)


def collate(pictures: list[Any]) -> Any:
    import torch

    return torch.from_numpy(np.stack(pictures))


class Files:
    """Loose files, as a map-style dataset."""

    def __init__(self, directory: Path) -> None:
        self.paths = sorted(directory.glob("*.jpg"))

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, number: int) -> Any:
        return decode_pil(self.paths[number].read_bytes())


def files_pil(directory: Path) -> Iterator[Any]:
    import torch

    dataset: Any = Files(directory / "files")
    return iter(torch.utils.data.DataLoader(dataset, BATCH, num_workers=WORKERS, shuffle=True, collate_fn=collate))


def webdataset(directory: Path, decode: Callable[[bytes], Any]) -> Iterator[Any]:
    import torch
    import webdataset

    shards = sorted(map(str, (directory / "tar").glob("*.tar")))
    dataset = webdataset.WebDataset(shards, shardshuffle=False).map(lambda sample: decode(sample["jpg"]))
    return iter(torch.utils.data.DataLoader(dataset, BATCH, num_workers=WORKERS, collate_fn=collate))


READERS: dict[str, Callable[[Path], Iterator[Any]]] = {
    "files + PIL": files_pil,
    "webdataset + PIL": lambda directory: webdataset(directory, decode_pil),
    "webdataset + turbo": lambda directory: webdataset(directory, decode_turbo),
}


def make(directory: Path, count: int) -> None:
    """Loose files, and as many tar files as there are workers."""
    for name in ("files", "tar"):
        (directory / name).mkdir(parents=True)
    half = -(-count // WORKERS)
    pictures = images(count)
    for worker in range(WORKERS):
        with tarfile.open(directory / "tar" / f"{worker:05}.tar", "w") as shard:
            for number in range(worker * half, min((worker + 1) * half, count)):
                data = next(pictures)
                (directory / "files" / f"{number:06}.jpg").write_bytes(data)
                member = tarfile.TarInfo(f"{number:06}.jpg")
                member.size = len(data)
                shard.addfile(member, io.BytesIO(data))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("directory", type=Path)
    parser.add_argument("--make", action="store_true")
    parser.add_argument("--child", choices=READERS)
    parser.add_argument("--images", type=int, default=IMAGES)
    given = parser.parse_args()
    if given.make:
        make(given.directory, given.images)
    else:
        for module in ("torch", "webdataset", "simplejpeg", "cv2"):
            importlib.import_module(module)  # no contender pays for imports
        report(lambda: light(READERS[given.child](given.directory)))


if __name__ == "__main__":
    main()
