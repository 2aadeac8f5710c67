"""Pictures of the benchmark of decoding and resizing, and its peers, in an environment without trackyard.

python benchmarks/decode_resize_peer.py --child "PIL" DIRECTORY 384        # one line of JSON
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.measured import report

PASSES = 4
"""Times that each picture is decoded while the clock runs."""

Pixels = NDArray[np.uint8]
Decode = Callable[[bytes, int, int], Pixels]
"""(encoded picture, height, width) -> uint8 [height, width, 3]."""


def pil(data: bytes, height: int, width: int) -> Pixels:
    return np.asarray(Image.open(io.BytesIO(data)).resize((width, height), Image.Resampling.BICUBIC))


def pil_draft(data: bytes, height: int, width: int) -> Pixels:
    picture = Image.open(io.BytesIO(data))
    picture.draft("RGB", (width, height))
    return np.asarray(picture.resize((width, height), Image.Resampling.BICUBIC))


def turbo(data: bytes, height: int, width: int) -> Pixels:
    import cv2
    import simplejpeg

    whole = simplejpeg.decode_jpeg(data)
    resized: Pixels = cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA)
    return resized


def turbo_scaled(data: bytes, height: int, width: int) -> Pixels:
    import cv2
    import simplejpeg

    picture: Pixels = simplejpeg.decode_jpeg(data, min_height=height, min_width=width)
    if picture.shape[:2] != (height, width):
        picture = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
    return picture


PEERS: dict[str, Decode] = {
    "PIL": pil,
    "PIL draft": pil_draft,
    "simplejpeg + cv2": turbo,
    "simplejpeg scaled + cv2": turbo_scaled,
}


def child(decode: Decode, directory: Path, width: int) -> None:
    """Report the rate of `decode`; the answer is the mean difference of each picture from its reference, of 255."""
    pictures = [path.read_bytes() for path in sorted(directory.glob("*.jpg"))]
    references = np.load(directory / f"{width}.npy").astype(np.int16)
    height = references.shape[1]
    apart = [
        round(float(np.abs(decode(data, height, width) - reference).mean()), 3)
        for data, reference in zip(pictures, references, strict=True)
    ]

    def work() -> tuple[float, Any]:
        for _ in range(PASSES):
            for data in pictures:
                decode(data, height, width)
        return PASSES * len(pictures), apart

    report(work)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("directory", type=Path)
    parser.add_argument("width", type=int)
    parser.add_argument("--child", choices=PEERS, required=True)
    given = parser.parse_args()
    if "cv2" in given.child:
        import cv2

        cv2.setNumThreads(1)
    child(PEERS[given.child], given.directory, given.width)


if __name__ == "__main__":
    main()
