"""Pictures reach the encoder in order, squashed and upright, and are those that were listed."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from PIL import Image

from tests.recipes.datacomp.latents.made import SCENES, stored
from trackyard.acquire.media import UnreadableMedia
from trackyard.digest import digest_bytes
from trackyard.errors import DataError
from trackyard.recipes.datacomp.latents.pictures import Pictures, in_order


def _pictures(held: dict[str, bytes]) -> Pictures:
    def read(images: Sequence[str]) -> Iterator[tuple[str, bytes]]:
        return ((image, held[image]) for image in images)

    return Pictures(images=tuple(held), read=read)


@pytest.mark.parametrize("batch", [1, 3, 7, 100])
def test_batches_are_the_pictures_in_the_order_asked(batch: int) -> None:
    pictures = _pictures(stored(7))
    asked = pictures.images[::-1]
    found = list(pictures.batches(asked, size=128, batch=batch, threads=3))
    assert [len(group) for group in found] == [batch] * (7 // batch) + [7 % batch] * (7 % batch > 0)
    np.testing.assert_array_equal(np.concatenate(found), SCENES[:7][::-1])


def test_a_picture_is_squashed_upright_and_on_white() -> None:
    picture = np.zeros((40, 80, 4), np.uint8)
    picture[:, :40] = (255, 0, 0, 255)  # left half red, right half transparent
    stream = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6  # is to be turned by 90 degrees: red comes up
    Image.fromarray(picture).save(stream, "PNG", exif=exif)
    held = {digest_bytes(stream.getvalue()): stream.getvalue()}
    (found,) = _pictures(held).batches(list(held), size=32, batch=4, threads=1)
    assert found.shape == (1, 32, 32, 3)
    assert found[0, 4, 4].tolist() == found[0, 4, 28].tolist() == [255, 0, 0]
    assert found[0, 28, 4].tolist() == found[0, 28, 28].tolist() == [255, 255, 255]


def test_other_bytes_than_listed_and_no_pictures_are_errors() -> None:
    held = stored(2)
    first, second = held
    swapped = {first: held[second], second: held[first]}
    with pytest.raises(DataError, match=f"bytes of image {first} have blake3 {second}"):
        list(_pictures(swapped).batches([first], size=16, batch=1, threads=1))
    text = b"no picture"
    with pytest.raises(UnreadableMedia):
        list(_pictures({digest_bytes(text): text}).batches([digest_bytes(text)], size=16, batch=1, threads=1))


def test_a_stream_is_picked_in_order_and_read_no_further_than_needed() -> None:
    stream = iter([("a", b"1"), ("b", b"2"), ("c", b"3"), ("d", b"4")])
    assert list(in_order(stream, ["b", "c"])) == [("b", b"2"), ("c", b"3")]
    assert list(stream) == [("d", b"4")]
    assert list(in_order(iter([]), [])) == []
    with pytest.raises(DataError, match="image b is not among"):
        list(in_order(iter([("a", b"1")]), ["a", "b"]))
