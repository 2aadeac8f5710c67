"""What delivered bytes are: kept as they are, scaled, or refused with one cause."""

from __future__ import annotations

import hashlib
import io
from dataclasses import replace

import numpy as np
import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from tests.loopback.images import jpeg, png
from tests.memory import peak_growth
from trackyard.acquire.images.check import ImageRules, Kept, Refused, check_image

RULES = ImageRules(max_side=None, min_side=32, max_aspect=8.0, max_pixels=50_000_000)
SMALLER = ImageRules(max_side=64, min_side=32, max_aspect=8.0, max_pixels=50_000_000)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def noise(width: int, height: int, mode: str = "RGB") -> Image.Image:
    """Smooth noise, as photographs have, in any mode."""
    pixels = np.random.default_rng(0).integers(0, 256, (height // 32 + 2, width // 32 + 2, 3), dtype=np.uint8)
    image = Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC)
    return image.convert(mode)


def kept(data: bytes, rules: ImageRules = RULES) -> Kept:
    found = check_image(data, rules, sha256=None)
    assert isinstance(found, Kept), found
    assert found.sha256 == hashlib.sha256(data).digest()
    assert found.blake3 == blake3(data if found.data is None else found.data).digest()
    return found


def cause(data: bytes, rules: ImageRules = RULES, sha256: bytes | None = None) -> str:
    found = check_image(data, rules, sha256=sha256)
    assert isinstance(found, Refused), found
    assert found.sha256 == hashlib.sha256(data).digest()
    assert found.detail
    return found.cause


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF"])
def test_the_four_formats_keep_their_bytes(kind: str) -> None:
    found = kept(encoded(noise(80, 60), kind))
    assert (found.width, found.height, found.data) == (80, 60, None)


@pytest.mark.parametrize("kind", ["BMP", "TIFF", "PPM", "JPEG2000"])
def test_other_formats_are_told_by_their_content(kind: str) -> None:
    assert cause(encoded(noise(80, 60), kind)) == "not_image"


@pytest.mark.parametrize("data", [b"", b"<html>", b"\xff\xd8", b"RIFF0000WAVE", b"%!PS-Adobe"])
def test_what_is_no_image(data: bytes) -> None:
    assert cause(data) == "not_image"


def test_limits_are_inclusive() -> None:
    assert kept(jpeg(0, 256, 32)).width == 256
    assert cause(jpeg(0, 257, 32)) == "aspect"
    assert cause(jpeg(0, 32, 257)) == "aspect"
    assert cause(jpeg(0, 40, 31)) == "too_small"
    exact = ImageRules(max_side=None, min_side=1, max_aspect=8.0, max_pixels=4800)
    assert kept(jpeg(0, 80, 60), exact).width == 80
    assert cause(jpeg(0, 81, 60), exact) == "pixel_limit"


@pytest.mark.parametrize("side", [7_500, 12_000, 24_000])
def test_bombs_are_refused_from_the_header(side: int) -> None:
    data = png(side, side)
    with peak_growth() as grown:
        assert cause(data) == cause(data, SMALLER) == "pixel_limit"
        assert grown() < 20_000_000


@settings(deadline=None, max_examples=40)
@given(st.floats(0.05, 0.98), st.sampled_from(["JPEG", "PNG", "WEBP", "GIF"]), st.booleans())
def test_a_cut_image_is_never_kept(share: float, kind: str, scaled: bool) -> None:
    data = encoded(noise(200, 160), kind)
    found = cause(data[: int(len(data) * share)], SMALLER if scaled else RULES)
    # A cut inside a header leaves no image to be called cut.
    assert found in ("truncated", "decode_error")


@settings(deadline=None, max_examples=100)
@given(
    st.binary(max_size=300), st.sampled_from([b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\0\0\0\0WEBP", b"GIF89a"])
)
def test_garbage_has_a_cause(tail: bytes, head: bytes) -> None:
    assert cause(head + tail) in ("decode_error", "truncated", "too_small", "aspect", "pixel_limit")


def test_digests_are_compared_before_anything_is_decoded() -> None:
    data = jpeg(1)
    right = hashlib.sha256(data).digest()
    assert isinstance(check_image(data, RULES, sha256=right), Kept)
    assert cause(data, sha256=bytes(32)) == "hash_mismatch"
    assert cause(data[:400], sha256=right) == "hash_mismatch"
    # A page in place of an image is told apart: another day it may be the image.
    assert cause(b"<html>", sha256=right) == "not_image"


@settings(deadline=None, max_examples=30)
@given(st.integers(33, 900), st.integers(33, 900), st.sampled_from(["JPEG", "PNG"]))
def test_scaling_keeps_the_ratio_and_the_picture(width: int, height: int, kind: str) -> None:
    image = noise(width, height)
    data = encoded(image, kind)
    found = kept(data, SMALLER) if max(width, height) <= 8 * min(width, height) else None
    if found is None:
        return
    if max(width, height) <= 64:
        assert found.data is None
        return
    assert found.data is not None
    assert max(found.width, found.height) == 64
    scale = 64 / max(width, height)
    assert (found.width, found.height) == (round(width * scale), round(height * scale))
    with Image.open(io.BytesIO(found.data)) as stored, Image.open(io.BytesIO(data)) as full:
        assert stored.size == (found.width, found.height)
        # Brightness only: JPEG keeps a quarter of the colours.
        reference = full.convert("L").resize(stored.size, Image.Resampling.BICUBIC)
        difference = np.abs(np.asarray(stored.convert("L"), dtype=int) - np.asarray(reference, dtype=int)).mean()
    assert difference < 4


def test_orientation_is_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    for width, height in ((80, 48), (800, 480)):
        data = encoded(noise(width, height), "JPEG", exif=exif)
        found = kept(data)
        assert (found.width, found.height, found.data) == (height, width, None)
        found = kept(data, SMALLER)
        assert (found.width, found.height) == (38, 64)
        assert found.data is not None
        with Image.open(io.BytesIO(found.data)) as stored:
            assert stored.size == (38, 64)
            assert 0x0112 not in stored.getexif()


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_scaled_jpegs_of_any_mode(mode: str) -> None:
    assert kept(encoded(noise(300, 200, mode), "JPEG"), SMALLER).width == 64


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_scaled_pngs_of_any_mode(mode: str) -> None:
    image = noise(300, 200, mode) if mode != "I;16" else Image.fromarray(np.full((200, 300), 0x8000, dtype=np.uint16))
    found = kept(encoded(image, "PNG"), SMALLER)
    assert found.data is not None
    with Image.open(io.BytesIO(found.data)) as stored:
        assert stored.mode in ("L", "RGB")
        if mode == "I;16":
            assert stored.getpixel((5, 5)) == 0x80


def test_what_is_transparent_shows_white() -> None:
    found = kept(encoded(Image.new("RGBA", (200, 200), (0, 0, 0, 0)), "PNG"), SMALLER)
    assert found.data is not None
    with Image.open(io.BytesIO(found.data)) as stored:
        assert stored.getpixel((30, 30)) == (255, 255, 255)


def test_a_moving_picture_gives_its_first_frame() -> None:
    frames = [Image.new("RGB", (100, 80), colour) for colour in ("red", "blue")]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert kept(data).data is None
    found = kept(data, SMALLER)
    assert found.data is not None
    with Image.open(io.BytesIO(found.data)) as stored:
        assert stored.getpixel((30, 30)) == pytest.approx((254, 0, 0), abs=3)


def chessboard(turned: int = 1, size: tuple[int, int] = (160, 120)) -> bytes:
    """A JPEG of fields of four pixels."""
    columns, rows = np.indices(size[::-1])[::-1] // 4
    exif = Image.Exif()
    exif[0x0112] = turned
    stream = io.BytesIO()
    Image.fromarray(((columns + rows) % 2 * 255).astype(np.uint8)).save(stream, "JPEG", quality=95, exif=exif)
    return stream.getvalue()


@pytest.mark.parametrize("rules", [RULES, SMALLER])
@pytest.mark.parametrize("turned", [1, 6])
def test_faces_are_blurred_where_they_are_in_the_file(rules: ImageRules, turned: int) -> None:
    """Boxes were found before the picture was turned; what is stored shows it as people see it."""
    data = chessboard(turned)
    found = check_image(data, rules, sha256=None, faces=((0.5, 0.0, 1.0, 1.0),))
    assert isinstance(found, Kept)
    assert found.data is not None
    assert found.sha256 == hashlib.sha256(data).digest()
    with Image.open(io.BytesIO(found.data)) as image:
        assert image.size == (found.width, found.height)
        assert ImageOps.exif_transpose(image).size == image.size
        shown = np.asarray(image).astype(float)
    assert (found.width > found.height) is (turned == 1)
    # The right half of the file is the lower half once it is turned by a quarter.
    clear, covered = np.array_split(shown, 2, axis=0 if turned == 6 else 1)
    edge = 8
    assert clear[:-edge, :-edge].std() > 60
    assert covered[edge:, edge:].std() < 12


def test_faces_are_left_alone_only_where_that_is_asked_for() -> None:
    data, face = chessboard(), (0.2, 0.2, 0.4, 0.4)
    kept = check_image(data, replace(RULES, blur_faces=False), sha256=None, faces=(face, (1.0,)))
    assert isinstance(kept, Kept)
    assert kept.data is None
    for wrong in ((0.2, 0.2, 0.2, 0.4), (0.2, 0.4), (float("nan"), 0.0, 1.0, 1.0)):
        refused = check_image(data, RULES, sha256=None, faces=(face, wrong))
        assert isinstance(refused, Refused)
        assert refused.cause == "face_box"


def test_other_bytes_than_expected_are_refused_or_kept_and_told() -> None:
    data = chessboard()
    refused = check_image(data, RULES, sha256=bytes(32))
    assert isinstance(refused, Refused)
    assert refused.cause == "hash_mismatch"
    kept = check_image(data, replace(RULES, hash_mismatch="keep"), sha256=bytes(32))
    assert isinstance(kept, Kept)
    assert kept.mismatch == refused.detail
    right = check_image(data, replace(RULES, hash_mismatch="keep"), sha256=kept.sha256)
    assert isinstance(right, Kept)
    assert right.mismatch == ""
