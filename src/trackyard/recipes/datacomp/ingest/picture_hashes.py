"""By what two pictures are taken for the same: their pixels, or the outline of their brightness.

Source: theworld section 7, curate. The gradient hash is dHash as Neal Krawetz described it in 2013.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from blake3 import blake3
from PIL import Image

from trackyard.acquire.images.digest_set import DigestSet
from trackyard.acquire.images.outcomes import OK
from trackyard.feed.decode import decode_covering

SIDE = 512
"""Pixels of the square in which pictures are compared."""
PIXEL_BYTES = 16
"""Of the digest of a square that are kept: among a billion pictures two collide with odds of 1e-21."""
DUPLICATE, OVERLAP = "duplicate", "eval_overlap"
RECENT = 8192
"""Digests that wait to be sorted in among the others."""
_ROWS, _COLUMNS = 8, 9
_NOTHING = frozenset((0, 2**64 - 1))


@dataclass(frozen=True, slots=True)
class PictureHashes:
    """pixels: PIXEL_BYTES bytes, of the RGB square. gradient: 64 bits, whether a cell is brighter than that beside it.

    Scaled and compressed copies of a picture have the same gradient, mostly.
    """

    pixels: bytes
    gradient: int

    @property
    def is_degenerate(self) -> bool:
        """No cell is brighter than its neighbour, or each is: a flat picture, or one that changes in one direction.

        All of them have the same two gradients, so that such a hash says nothing about whether pictures are the same.
        """
        return self.gradient in _NOTHING


def hashes_of(data: bytes, name: str) -> PictureHashes:
    """Of an encoded picture, upright and on white, squashed to SIDE x SIDE. UnreadableMedia for what is none."""
    square = Image.fromarray(decode_covering(data, name, (SIDE, SIDE)))
    if square.size != (SIDE, SIDE):
        square = square.resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    grey = np.asarray(square.convert("L").resize((_COLUMNS, _ROWS), Image.Resampling.BICUBIC))
    bits = np.packbits(grey[:, :-1] > grey[:, 1:])
    return PictureHashes(blake3(square.tobytes()).digest(PIXEL_BYTES), int.from_bytes(bits.tobytes(), "big"))


class KnownPictures:
    """Pictures that no sample may repeat: those of the benchmarks, and those of samples so far.

    16 bytes are held of every sample. A gradient that says nothing is not compared; pixels always are.
    """

    def __init__(self, benchmarks: Iterable[tuple[str, bytes]]) -> None:
        """benchmarks: (name, encoded picture) of each."""
        self.pictures = self.degenerate = 0
        self._gradients: set[int] = set()
        self._benchmarks, self._samples, self._recent = set[bytes](), DigestSet(), set[bytes]()
        for name, data in benchmarks:
            hashes = hashes_of(data, name)
            self.pictures += 1
            self._benchmarks.add(hashes.pixels)
            if hashes.is_degenerate:
                self.degenerate += 1
            else:
                self._gradients.add(hashes.gradient)

    def judge(self, hashes: PictureHashes) -> str:
        """Outcome of a picture: OVERLAP, DUPLICATE, or `ok`, and then it is known from now on."""
        if hashes.pixels in self._benchmarks or hashes.gradient in self._gradients:
            return OVERLAP
        if hashes.pixels in self._recent or self._samples.holds([hashes.pixels])[0]:
            return DUPLICATE
        self._recent.add(hashes.pixels)
        if len(self._recent) == RECENT:
            self._samples.add(list(self._recent))
            self._recent.clear()
        return OK
