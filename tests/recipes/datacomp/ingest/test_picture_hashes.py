"""Pictures are the same by their pixels, near copies by their outline; an outline that says nothing counts for none."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from trackyard.acquire.media import UnreadableMedia
from trackyard.recipes.datacomp.ingest.picture_hashes import RECENT, SIDE, KnownPictures, PictureHashes, hashes_of
from trackyard.recipes.datacomp.scenes import draw, jpeg, scene


def encoded(pixels: np.ndarray, kind: str = "PNG", **options: int) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind, **options)
    return stream.getvalue()


def test_pixels_decide_not_bytes() -> None:
    pixels = draw(scene(0, 0))
    first, again = encoded(pixels), encoded(pixels, compress_level=0)
    assert first != again
    assert hashes_of(first, "a") == hashes_of(again, "b")


def test_a_scaled_and_compressed_copy_has_other_pixels_and_the_same_gradient() -> None:
    same = 0
    for number in range(5):
        original = hashes_of(encoded(draw(scene(0, number), 640)), "a")
        copy = hashes_of(jpeg(scene(0, number), 320), "b")
        assert original.pixels != copy.pixels
        same += original.gradient == copy.gradient
        assert (original.gradient ^ copy.gradient).bit_count() <= 2
    assert same >= 3  # one cell that is as bright as its neighbour is enough to differ


def test_the_gradient_is_that_of_its_definition() -> None:
    steps = np.tile(np.linspace(250, 5, 9).astype(np.uint8), (8, 1))
    falling = np.kron(steps, np.ones((64, 64), np.uint8))
    picture = hashes_of(encoded(np.stack([falling] * 3, axis=2)), "falling")
    assert picture.gradient == 2**64 - 1
    assert picture.is_degenerate


@pytest.mark.parametrize("shade", [(0, 0, 0), (200, 10, 10), (255, 255, 255)])
def test_a_flat_picture_is_known_by_its_pixels_alone(shade: tuple[int, int, int]) -> None:
    def flat(colour: tuple[int, int, int]) -> bytes:
        return encoded(np.full((40, 40, 3), colour, np.uint8))

    known = KnownPictures([("benchmark", flat((9, 9, 9)))])
    assert (known.pictures, known.degenerate) == (1, 1)
    assert hashes_of(flat(shade), "flat").gradient == 0
    assert known.judge(hashes_of(flat(shade), "flat")) == "ok"
    assert known.judge(hashes_of(flat(shade), "flat")) == "duplicate"
    assert known.judge(hashes_of(flat((9, 9, 9)), "flat")) == "eval_overlap"


def test_a_near_copy_of_a_benchmark_is_refused_even_in_another_format() -> None:
    of = scene(3, 1)
    known = KnownPictures([("benchmark", encoded(draw(of, 256)))])
    assert known.judge(hashes_of(encoded(draw(of, 256), "WEBP", quality=90), "copy")) == "eval_overlap"
    assert known.judge(hashes_of(jpeg(scene(3, 2)), "another")) == "ok"


def test_an_image_that_is_none_is_an_error() -> None:
    with pytest.raises(UnreadableMedia):
        hashes_of(b"not a picture", "sample 1")


def test_the_square_has_the_size_of_the_specification() -> None:
    assert SIDE == 512


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 60), max_size=120), st.integers(1, 5))
def test_each_picture_is_accepted_once_whatever_waits_to_be_sorted(numbers: list[int], recent: int) -> None:
    known = KnownPictures([])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("trackyard.recipes.datacomp.ingest.picture_hashes.RECENT", recent)
        told = [known.judge(PictureHashes(number.to_bytes(16, "big"), number)) for number in numbers]
    assert told == ["duplicate" if number in numbers[:at] else "ok" for at, number in enumerate(numbers)]
    assert RECENT == 8192
