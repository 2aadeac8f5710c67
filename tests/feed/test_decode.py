import struct

import numpy as np
import pytest
import simplejpeg

from tests.feed.pictures import by_pillow, encode, outcome, soft, turned
from tests.memory import peak_growth
from trackyard.acquire.media import open_image
from trackyard.feed import decode
from trackyard.feed.decode import decode_rgb


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
        assert outcome(data[:keep], decode_rgb) == "unreadable image"


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
        assert grown() < 20_000_000
