"""What delivered bytes are: an image that is kept, or one cause why not. Runs in a worker, on bytes of strangers.

The content is sniffed, the digest compared, the size refused from the header; only then a decoder sees the bytes.
Source: theworld section 7 (decode, store), reliability F16.
"""

from __future__ import annotations

import hashlib
import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from blake3 import blake3
from PIL import Image, ImageOps

from trackyard.acquire.images.faces import Faces, as_shown, blur, is_box, orientation
from trackyard.acquire.media import UnreadableMedia, open_image

if TYPE_CHECKING:
    from trackyard.acquire.images.outcomes import ImageCause

QUALITY = 95
Box = tuple[float, float, float, float]

_MAGIC: tuple[tuple[str, Callable[[bytes], bool]], ...] = (
    ("JPEG", lambda head: head.startswith(b"\xff\xd8\xff")),
    ("PNG", lambda head: head.startswith(b"\x89PNG\r\n\x1a\n")),
    ("WEBP", lambda head: head[:4] == b"RIFF" and head[8:12] == b"WEBP"),
    ("GIF", lambda head: head[:6] in (b"GIF87a", b"GIF89a")),
)

# What PIL raises on damaged headers and, where pixels are scaled, on what needs more memory than a worker has.
_DAMAGE = (
    OSError, ValueError, SyntaxError, TypeError, IndexError, KeyError, EOFError, OverflowError, MemoryError,
    Image.DecompressionBombWarning, Image.DecompressionBombError,
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageRules:
    """max_side: pixels of the longer side from which images are scaled down and stored as JPEG; None keeps all bytes.

    min_side: pixels of the shorter side. max_aspect: longer by shorter side. max_pixels: width x height.
    hash_mismatch: what becomes of bytes with another digest than was expected.
    """

    max_side: int | None
    min_side: int
    max_aspect: float
    max_pixels: int
    blur_faces: bool = True
    hash_mismatch: Literal["reject", "keep"] = "reject"


@dataclass(frozen=True, kw_only=True, slots=True)
class Kept:
    """An image that is stored. width, height: as displayed. data: its bytes, None where those delivered are kept.

    blake3: of the stored bytes; sha256: of the delivered ones; 32 bytes each. mismatch: which digest was expected, in
    words, where it was another and is kept all the same.
    """

    sha256: bytes
    blake3: bytes
    width: int
    height: int
    data: bytes | None
    mismatch: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Refused:
    """Bytes that are not kept. sha256: of the delivered bytes, 32 bytes."""

    sha256: bytes
    cause: ImageCause
    detail: str


class _Problem(Exception):
    def __init__(self, cause: ImageCause, detail: str) -> None:
        super().__init__(detail)
        self.cause: ImageCause = cause


def check_image(data: bytes, rules: ImageRules, *, sha256: bytes | None, faces: Faces = ()) -> Kept | Refused:
    """Judge delivered bytes. sha256: 32 bytes that their digest should be, None if nobody says. faces: to be blurred.

    An image with a face whose place is not known is not kept.
    """
    found = hashlib.sha256(data).digest()
    mismatch = ""
    try:
        kind = next((kind for kind, matches in _MAGIC if matches(data[:16])), None)
        if kind is None:
            raise _Problem("not_image", f"{len(data)} bytes that are not JPEG, PNG, WebP or GIF")
        if sha256 is not None and found != sha256:
            mismatch = f"sha256 {found.hex()}, expected {sha256.hex()}"
            if rules.hash_mismatch == "reject":
                raise _Problem("hash_mismatch", mismatch)
        if not rules.blur_faces:
            faces = ()
        for face in faces:
            if not is_box(face):
                raise _Problem("face_box", f"{list(face)!r:.100} is no box within the picture")
        image, is_changed = _decoded(data, kind, rules, faces)
        stored = _encoded(image) if is_changed else None
    except _Problem as problem:
        return Refused(sha256=found, cause=problem.cause, detail=str(problem))
    except UnreadableMedia as error:
        return Refused(sha256=found, cause=_cause_of(error.__cause__), detail=_words(error.__cause__ or error))
    except _DAMAGE as error:
        return Refused(sha256=found, cause=_cause_of(error), detail=_words(error))
    digest = blake3(data if stored is None else stored).digest()
    return Kept(sha256=found, blake3=digest, width=image.width, height=image.height, data=stored, mismatch=mismatch)


def _cause_of(error: BaseException | None) -> ImageCause:
    if isinstance(error, Image.DecompressionBombWarning | Image.DecompressionBombError):
        return "pixel_limit"
    return "truncated" if "truncated" in str(error).lower() else "decode_error"


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:300]


def _decoded(data: bytes, kind: str, rules: ImageRules, faces: Faces) -> tuple[Image.Image, bool]:
    """The image as it is stored, and whether it was changed for that."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        header: Image.Image = Image.open(io.BytesIO(data), formats=(kind,))
    _check_geometry(header.width, header.height, rules)
    turned = orientation(header) if faces else 1
    target = _target(header.width, header.height, rules.max_side)
    if target is None:
        image = open_image(data, "the image")
    elif kind == "JPEG":
        image = _scaled_jpeg(header, target)
    else:
        image = open_image(data, "the image")
        image = _scaled(image, _target(image.width, image.height, rules.max_side) or target)
    if faces:
        image = blur(_opaque(image), [as_shown(face, turned) for face in faces])
    return image, bool(faces) or target is not None


def _check_geometry(width: int, height: int, rules: ImageRules) -> None:
    shorter, longer = sorted((width, height))
    if width * height > rules.max_pixels:
        raise _Problem("pixel_limit", f"{width} x {height}, {rules.max_pixels:,} pixels allowed")
    if shorter < rules.min_side:
        raise _Problem("too_small", f"{width} x {height}, at least {rules.min_side} wanted")
    if longer > rules.max_aspect * shorter:
        raise _Problem("aspect", f"{width} x {height}, at most {rules.max_aspect:g} to 1 wanted")


def _target(width: int, height: int, max_side: int | None) -> tuple[int, int] | None:
    """Size to scale to; None if the image is small enough."""
    if max_side is None or max(width, height) <= max_side:
        return None
    scale = max_side / max(width, height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _scaled(image: Image.Image, target: tuple[int, int], box: Box | None = None) -> Image.Image:
    """A smaller copy of the part of `image` within `box`, in a mode that JPEG has."""
    # Where pixels are averaged this filter looks like the bicubic one and costs 60 % of it.
    return _opaque(image).resize(target, Image.Resampling.HAMMING, box)


def _scaled_jpeg(header: Image.Image, target: tuple[int, int]) -> Image.Image:
    """The same of a JPEG whose header was read: its decoder can leave out the finest frequencies.

    It is up to four times faster then, and never below the target. It halves whole blocks; `box` is what of them is
    image. The orientation is applied to the small copy.
    """
    drafted = header.draft(None, target)
    smaller = _scaled(header, target, drafted[1] if drafted else None)
    ImageOps.exif_transpose(smaller, in_place=True)
    return smaller


def _encoded(image: Image.Image) -> bytes:
    """A JPEG. Colour profiles are neither applied nor kept."""
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=QUALITY)
    return stream.getvalue()


def _opaque(image: Image.Image) -> Image.Image:
    """The image in a mode that JPEG has: 16 bits become 8, what is transparent shows white."""
    if image.mode in ("L", "RGB"):
        return image
    if image.mode.startswith(("I", "F")):
        return Image.fromarray((np.asarray(image).astype(np.uint32) >> 8).astype(np.uint8))
    if image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")
