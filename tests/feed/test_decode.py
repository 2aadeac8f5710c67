import io
import struct
from functools import cache

import numpy as np
import pytest
import simplejpeg
from PIL import Image, ImageOps

from tests.memory import peak_growth
from trackyard.acquire.media import UnreadableMedia, open_image
from trackyard.errors import ConfigError
from trackyard.feed import decode
from trackyard.feed.decode import decode_resized, decode_rgb


def soft(height: int, width: int, seed: int = 0) -> Image.Image:
    """A picture with as much fine detail as a photograph."""
    grid = np.random.default_rng(seed).integers(0, 256, (height // 8 + 2, width // 8 + 2, 3), dtype=np.uint8)
    return Image.fromarray(grid).resize((width, height), Image.Resampling.BICUBIC)


@cache
def photograph() -> bytes:
    """A JPEG of 1024 x 768 with detail of every size, the less the finer, as photographs have it."""
    random, scene = np.random.default_rng(0), np.zeros((768, 1024, 3))
    for octave in range(1, 10):
        grid = random.integers(0, 256, (3 * 2**octave // 4, 2**octave, 3), dtype=np.uint8)
        scene += (np.asarray(Image.fromarray(grid).resize((1024, 768), Image.Resampling.BILINEAR)) - 128.0) * 2 ** (
            1 - octave
        )
    return encode(Image.fromarray(np.clip(scene + 128, 0, 255).astype(np.uint8)), quality=88)


def encode(image: Image.Image, fmt: str = "JPEG", **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, fmt, **options)
    return stream.getvalue()


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def by_pillow(data: bytes) -> np.ndarray:
    return np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))


def outcome(data: bytes, way) -> np.ndarray | str:
    try:
        return way(data, "x")
    except UnreadableMedia as error:
        return error.reason


@pytest.fixture
def only_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("libjpeg-turbo was asked")

    monkeypatch.setattr(simplejpeg, "decode_jpeg", refuse)


@pytest.fixture
def only_turbo(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("Pillow was asked")

    monkeypatch.setattr(decode, "_to_rgb", refuse)


@pytest.mark.usefixtures("only_turbo")
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("subsampling", [0, 1, 2])
def test_pixels_of_a_jpeg_are_pillows_bit_for_bit(subsampling: int, progressive: bool) -> None:
    random = np.random.default_rng(subsampling)
    sizes = [(1, 1), (1, 17), (9, 1), (480, 640), *(tuple(random.integers(1, 200, 2)) for _ in range(12))]
    for seed, (height, width) in enumerate(sizes):
        picture = soft(int(height), int(width), seed)
        options = {"quality": 30 + 5 * (seed % 14), "progressive": progressive}
        for data in (
            encode(picture, subsampling=subsampling, **options),
            encode(picture.convert("L"), **options),
            encode(picture, subsampling=subsampling, exif=turned(1 + seed % 8), **options),
        ):
            found = decode_rgb(data, "x")
            assert found.dtype == np.uint8
            assert np.array_equal(found, by_pillow(data))


@pytest.mark.parametrize("options", [{"fastdct": True}, {"fastupsample": True}])
def test_the_faster_settings_would_not_pass(options: dict[str, bool], monkeypatch: pytest.MonkeyPatch) -> None:
    data = encode(soft(120, 160), subsampling=2, quality=95)
    plain = simplejpeg.decode_jpeg
    monkeypatch.setattr(simplejpeg, "decode_jpeg", lambda *args, **kwargs: plain(*args, **kwargs, **options))
    assert not np.array_equal(decode_rgb(data, "x"), by_pillow(data))


def with_adobe(data: bytes, transform: int) -> bytes:
    return data[:2] + b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00" + bytes([transform]) + data[2:]


@pytest.mark.usefixtures("only_turbo")
@pytest.mark.parametrize("transform", [0, 1])
def test_adobes_marker_says_what_the_colours_are(transform: int) -> None:
    plain = encode(soft(40, 50))
    marked = with_adobe(plain[:2] + plain[20:], transform)  # without the JFIF header, which would overrule it
    assert np.array_equal(decode_rgb(marked, "x"), by_pillow(marked))
    assert np.array_equal(decode_rgb(marked, "x"), decode_rgb(plain, "x")) == (transform == 1)


@pytest.mark.usefixtures("only_pillow")
@pytest.mark.parametrize("transform", [None, 0, 2])
def test_cmyk_is_pillows(transform: int | None) -> None:
    data = encode(soft(40, 50).convert("CMYK"))
    if transform is not None:  # 2 is YCCK
        at = data.index(b"Adobe") + 11
        data = data[:at] + bytes([transform]) + data[at + 1 :]
    assert np.array_equal(decode_rgb(data, "x"), by_pillow(data))


@pytest.mark.usefixtures("only_pillow")
@pytest.mark.parametrize("fmt", ["PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000"])
def test_other_formats_are_pillows(fmt: str) -> None:
    data = encode(soft(31, 44), fmt)
    assert np.array_equal(decode_rgb(data, "x"), by_pillow(data))


@pytest.mark.parametrize("fmt", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 10))
def test_orientation_is_applied_once(fmt: str, orientation: int) -> None:
    # The reference loads first: Pillow turns a TIFF then, and forgets its orientation.
    data = encode(soft(24, 40), fmt, exif=turned(orientation))
    assert np.array_equal(decode_rgb(data, "x"), np.asarray(open_image(data, "x").convert("RGB")))
    assert decode_rgb(data, "x").shape == ((40, 24, 3) if 5 <= orientation <= 8 else (24, 40, 3))
    small = decode_resized(data, "x", 20, 10)
    whole = Image.fromarray(decode_rgb(data, "x")).resize((10, 20), Image.Resampling.BICUBIC)
    assert np.abs(small.astype(int) - np.asarray(whole)).mean() < 4


def test_an_orientation_in_xmp_counts() -> None:
    note = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    assert decode_rgb(encode(soft(24, 40), xmp=note), "x").shape == (40, 24, 3)


def test_segments_that_cannot_be_walked_are_read_by_pillow() -> None:
    data = encode(soft(24, 40), exif=turned(6))
    padded = data[:2] + b"\xff\xff" + data[2:]  # fill bytes are allowed before a marker
    assert outcome(padded, decode_rgb) is not None
    assert np.array_equal(outcome(padded, decode_rgb), by_pillow(padded))


def test_damage_ends_as_at_import() -> None:
    random = np.random.default_rng(0)
    sources = [encode(soft(40, 56, k), quality=60, subsampling=k % 3, progressive=k == 2) for k in range(3)]
    sources.append(encode(soft(40, 56), exif=turned(6)))
    ends: set[str] = set()
    for trial in range(600):
        data = bytearray(sources[trial % 4])
        for _ in range(random.integers(1, 4)):
            data[random.integers(2, len(data))] = random.integers(256)
        if trial % 3 == 0:
            del data[random.integers(len(data)) :]
        expected = outcome(bytes(data), lambda data, path: np.asarray(open_image(data, path).convert("RGB")))
        found = outcome(bytes(data), decode_rgb)
        if isinstance(expected, str):
            assert found == expected
            ends.add(expected)
        else:
            assert np.array_equal(found, expected)
            ends.add("decoded")
    assert {"decoded", "unreadable image"} <= ends


def test_every_cut_of_a_jpeg_is_noticed() -> None:
    data = encode(soft(60, 80))
    for keep in (0, 1, 3, len(data) // 3, len(data) * 9 // 10):
        for way in (decode_rgb, lambda data, path: decode_resized(data, path, 20, 20)):
            assert outcome(data[:keep], way) == "unreadable image"


@pytest.mark.usefixtures("only_pillow")
def test_bombs_are_refused_from_the_header() -> None:
    head = b"\xff\xd8\xff\xc0\x00\x11\x08" + struct.pack(">HH", 65_500, 65_500)
    jpeg = head + b"\x03\x01\x22\x00\x02\x11\x01\x03\x11\x01"
    small = encode(soft(16, 16))
    at = small.index(b"\xff\xc0") + 5
    whole = small[:at] + struct.pack(">HH", 12_000, 12_000) + small[at + 4 :]
    with peak_growth() as grown:
        for data in (jpeg, whole):
            assert outcome(data, decode_rgb) == "image above 64 megapixels"
            assert outcome(data, lambda data, path: decode_resized(data, path, 8, 8)) == "image above 64 megapixels"
        assert grown() < 20_000_000


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
