"""Pictures of a wanted size: Pillow's within a tolerance, whatever their format, orientation or mode."""

from __future__ import annotations

import io

import numpy as np
import pytest
import simplejpeg
from PIL import Image

from tests.feed.pictures import encode, outcome, photograph, soft, turned
from trackyard.errors import ConfigError
from trackyard.feed.decode import decode_rgb
from trackyard.feed.resized import decode_resized


@pytest.mark.parametrize("fmt", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 10))
def test_orientation_is_applied_once(fmt: str, orientation: int) -> None:
    data = encode(soft(24, 40), fmt, exif=turned(orientation))
    small = decode_resized(data, "x", 20, 10)
    whole = Image.fromarray(decode_rgb(data, "x")).resize((10, 20), Image.Resampling.BICUBIC)
    assert np.abs(small.astype(int) - np.asarray(whole)).mean() < 4


def test_every_cut_of_a_jpeg_is_noticed() -> None:
    data = encode(soft(60, 80))
    for keep in (0, 1, 3, len(data) // 3, len(data) * 9 // 10):
        assert outcome(data[:keep], lambda data, path: decode_resized(data, path, 20, 20)) == "unreadable image"


def test_a_bomb_is_refused_from_the_header() -> None:
    bomb = b"\xff\xd8\xff\xc0\x00\x11\x08\xff\xdc\xff\xdc\x03\x01\x22\x00\x02\x11\x01\x03\x11\x01"
    assert outcome(bomb, lambda data, path: decode_resized(data, path, 8, 8)) == "image above 64 megapixels"


@pytest.mark.parametrize(("height", "width"), [(384, 512), (288, 384), (512, 512), (224, 224), (700, 1000), (96, 128)])
def test_a_resized_photograph_is_within_two_levels_of_pillows(height: int, width: int) -> None:
    data = photograph()
    found = decode_resized(data, "x", height, width)
    size, bicubic = (width, height), Image.Resampling.BICUBIC
    reference = np.asarray(Image.open(io.BytesIO(data)).resize(size, bicubic)).astype(int)
    shifted = np.roll(reference, 1, axis=1)
    assert found.shape == (height, width, 3)
    assert np.abs(found - reference).mean() <= 0.5
    assert np.abs(shifted - reference).mean() > 0.5  # negative control: one column off


def test_a_jpeg_is_decoded_no_larger_than_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, ...]] = []
    plain = simplejpeg.decode_jpeg

    def watched(*args: object, **kwargs: object) -> np.ndarray:
        seen.append(plain(*args, **kwargs).shape[:2])
        return plain(*args, **kwargs)

    monkeypatch.setattr(simplejpeg, "decode_jpeg", watched)
    data = photograph()
    for height, width in ((384, 512), (288, 384), (300, 400), (96, 1), (700, 900), (1536, 2048)):
        decode_resized(data, "x", height, width)
    assert seen == [(384, 512), (288, 384), (384, 512), (96, 128), (768, 1024), (768, 1024)]


def test_transparency_and_depth_are_kept_when_resizing() -> None:
    clear = Image.new("RGBA", (40, 30), (10, 20, 30, 0))
    assert (decode_resized(encode(clear, "PNG"), "x", 6, 5) == 255).all()
    scan = Image.fromarray(np.full((30, 40), 51_200, dtype=np.uint16))
    assert (decode_resized(encode(scan, "PNG"), "x", 6, 5) == 200).all()


def test_a_size_of_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="0 x 5 pixels"):
        decode_resized(encode(soft(8, 8)), "x", 0, 5)
