"""Pictures on their way to the world encoder: each distinct image once, squashed to its square.

Source: theworld spec sections 3 and 7.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from trackyard.digest import digest_bytes
from trackyard.errors import DataError
from trackyard.feed.resized import decode_resized

PREPROCESSING = "squash-bicubic/1"
"""Version of what turns stored bytes into pixels: upright, alpha on white, antialiased bicubic, aspect not kept.

Raised when pixels would be others; latents made before are refused then, and encoded again.
"""

Pixels = NDArray[np.uint8]
Read = Callable[[Sequence[str]], Iterator[tuple[str, bytes]]]
"""Images by digest -> (digest, stored bytes), those that were asked for, once each, in the order asked."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pictures:
    """images: blake3 (hex) of the stored bytes of each distinct image, in a lasting order. read: their bytes."""

    images: Sequence[str]
    read: Read

    def batches(self, images: Sequence[str], *, size: int, batch: int, threads: int) -> Iterator[Pixels]:
        """uint8 [n, size, size, 3] of `images` in their order, the next batch decoded ahead.

        DataError for bytes that are not those of their digest, UnreadableMedia for what is no picture.
        """
        with ThreadPoolExecutor(threads) as pool:
            decode = partial(_decoded, size=size)
            ahead: list[Iterator[Pixels]] = []
            for group in _groups(self.read(images), batch):
                ahead.append(pool.map(decode, group))
                if len(ahead) > 1:
                    yield np.stack(list(ahead.pop(0)))
            for rest in ahead:
                yield np.stack(list(rest))


def in_order(found: Iterable[tuple[str, bytes]], asked: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    """Of a stream in the order of `Pictures.images`, the first of each image that was asked for in that order.

    DataError if the stream ends before all are found.
    """
    waiting = iter(asked)
    wanted = next(waiting, None)
    for image, data in found:
        if image == wanted:
            yield image, data
            wanted = next(waiting, None)
            if wanted is None:
                return
    if wanted is not None:
        raise DataError(
            what=f"image {wanted} is not among those that are read",
            why="it was listed before; what it was read from has changed since",
            fix="run the same command again",
        )


def _decoded(item: tuple[str, bytes], *, size: int) -> Pixels:
    image, data = item
    found = digest_bytes(data)
    if found != image:
        raise DataError(
            what=f"the bytes of image {image} have blake3 {found}",
            why="its latent would be that of another picture",
            fix="dvc repro pipelines/datacomp/dvc.yaml, after `trackyard run datacomp download` has fetched it again",
        )
    return decode_resized(data, image, size, size)


def _groups(items: Iterable[tuple[str, bytes]], size: int) -> Iterator[list[tuple[str, bytes]]]:
    iterator = iter(items)
    while group := list(islice(iterator, size)):
        yield group
