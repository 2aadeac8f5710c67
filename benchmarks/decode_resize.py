"""JPEG to small pixels, beside Pillow, simplejpeg and OpenCV: `python -m benchmarks.decode_resize`.

24 pictures of 1024 x 768, quality 88, to widths of 512 and 384, from bytes in memory to an array. Each contender's
pixels must be within 2 of 255, on average over any picture, of Pillow's: decoded whole, then resized with antialiased
bicubic. Source: performance spec sections 8.2 and 10.2 (B2).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.decode_resize_peer import PEERS, child, pil
from benchmarks.harness import Contender, Target, compare, judge, write_record
from trackyard.feed.resized import decode_resized

COUNT, WIDTH, HEIGHT, QUALITY = 24, 1024, 768, 88
TOLERANCE = 2.0
OURS = "trackyard"


def picture(seed: int) -> Image.Image:
    """A seeded scene with detail of every size down to single pixels, as much of each as photographs have."""
    source = np.random.default_rng(seed)
    scene = np.zeros((HEIGHT, WIDTH, 3))
    for octave in range(1, 11):
        grid = source.integers(0, 256, (max(2, 3 * 2**octave // 4), 2**octave, 3), dtype=np.uint8)
        layer = Image.fromarray(grid).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
        scene += (np.asarray(layer) - 128.0) * 1.6**-octave
    return Image.fromarray(np.clip(scene * 0.9 + 128, 0, 255).astype(np.uint8))


def make(directory: Path, widths: Sequence[int]) -> None:
    """The pictures, and what Pillow makes of them."""
    for seed in range(COUNT):
        picture(seed).save(directory / f"{seed:02}.jpg", quality=QUALITY)
    pictures = [path.read_bytes() for path in sorted(directory.glob("*.jpg"))]
    for width in widths:
        np.save(directory / f"{width}.npy", np.stack([pil(data, HEIGHT * width // WIDTH, width) for data in pictures]))


def agree(answers: Mapping[str, Any]) -> str | None:
    """Every picture of every contender within the tolerance."""
    worst = {name: max(apart) for name, apart in answers.items()}
    wrong = [f"{name} is {value} of 255 off" for name, value in worst.items() if value > TOLERANCE]
    return "; ".join(wrong) or None


def measure(scratch: Path, rounds: int) -> list[dict[str, Any]]:
    widths = (512, 384)
    make(scratch, widths)
    workloads = []
    for width in widths:
        arguments = [str(scratch), str(width)]
        figures = compare(
            [
                Contender(name=OURS, argv=["benchmarks/decode_resize.py", "--child", OURS, *arguments]),
                *(
                    Contender(
                        name=name, argv=["benchmarks/decode_resize_peer.py", "--child", name, *arguments], peer=True
                    )
                    for name in PEERS
                ),
            ],
            metric="cpu_s",
            agree=agree,
            rounds=rounds,
        )
        workloads.append(
            {
                "name": f"{WIDTH}x{HEIGHT} to {width}",
                "unit": "images/cpu-s",
                "figures": figures,
                "targets": judge(figures, [Target(peer="PIL", ratio=2.5), Target(peer="best", ratio=0.95)]),
            }
        )
    return workloads


def main() -> int:
    """0 if targets are reached and figures steady, 1 if not."""
    parser = argparse.ArgumentParser()
    parser.add_argument("directory", type=Path, nargs="?")
    parser.add_argument("width", type=int, nargs="?")
    parser.add_argument("--child", choices=(OURS,))
    parser.add_argument("--scratch", type=Path, help="where pictures are made; a folder in it is removed at the end")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    if given.child:
        child(lambda data, height, width: decode_resized(data, "picture", height, width), given.directory, given.width)
        return 0
    with tempfile.TemporaryDirectory(dir=given.scratch) as scratch:
        workloads = measure(Path(scratch), given.rounds)
    packages, peers = ("simplejpeg", "pillow", "numpy"), ("simplejpeg", "pillow", "opencv-python-headless")
    return 0 if write_record("decode_resize", workloads, packages=packages, peers=peers) else 1


if __name__ == "__main__":
    sys.exit(main())
