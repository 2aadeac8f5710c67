"""What the world branch of an arm is given for a picture: its latent, zeros, or the latent of another picture.

Source: theworld spec section 12.4.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from trackyard.digest import digest_json
from trackyard.errors import DataError
from trackyard.recipes.datacomp.cells import Branch

Halves = NDArray[np.float16]


class Readable(Protocol):
    """As `trackyard.snapshot.latent_shards.Latents`."""

    def many(self, images: Sequence[str]) -> Halves: ...


class PictureLatents:
    """given: how many latents were handed out, which the audit compares with the number of pictures."""

    def __init__(self, latents: Readable, branch: Branch, pictures: Sequence[str]) -> None:
        """pictures: blake3 of all distinct pictures of the set, among which they are exchanged where that is asked."""
        self._latents, self._zeros = latents, branch == "zeros"
        self._other: Mapping[str, str] = exchanged(pictures) if branch == "shuffled" else {}
        self.given = 0

    def of(self, pictures: Sequence[str]) -> Halves:
        """float16 [n, C, h, w]. DataError for a picture without a latent, also where zeros take its place."""
        self.given += len(pictures)
        found = self._latents.many([self._other.get(picture, picture) for picture in pictures])
        return np.zeros_like(found) if self._zeros else found


def exchanged(pictures: Sequence[str]) -> dict[str, str]:
    """For each picture another one, the same for every arm, seed and order: no picture keeps its own.

    Each takes that of the next one on a circle whose order is drawn by digest. DataError with fewer than two.
    """
    circle = sorted(set(pictures), key=lambda picture: digest_json(["exchanged latents", picture]))
    if len(circle) < 2:
        raise DataError(
            what=f"{len(circle)} distinct picture to exchange latents among",
            why="it would keep its own, and the control would be no control",
            fix="raise datacomp.evaluation.made_items or limit in params.yaml",
        )
    return dict(zip(circle, [*circle[1:], circle[0]], strict=True))
