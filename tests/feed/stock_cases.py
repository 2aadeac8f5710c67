"""Two hundred seeded rows on which our preprocessing is compared with transformers' Molmo2 processors.

Every case is a pure function of its number: pictures of random sizes (1 to 3,000 pixels a side), colour modes and
crop limits, rows of several pictures, and videos with our sampling, each with a conversation. Source: molmo2 spec
sections 5 to 7 and 15; the processors themselves are run by `stock_reference.py`.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from trackyard.acquire.media import probe_image, probe_video
from trackyard.digest import digest_bytes
from trackyard.feed.frames import VideoParameters
from trackyard.feed.geometry import VisionGeometry
from trackyard.feed.layout import FeedParameters, lay_out
from trackyard.feed.sample import Sample, build_sample
from trackyard.feed.tokens import TokenTable, extend_tokenizer, train_tokenizer
from trackyard.row import Media, Row, Turn

SINGLE, SEVERAL, VIDEOS = 140, 20, 40
COUNT = SINGLE + SEVERAL + VIDEOS
CROPS = (8, 12, 24)
MODES = ("RGB", "L", "LA", "RGBA", "P", "P with transparency", "CMYK", "1", "I;16", "RGB turned")
RATES = (Fraction(1), Fraction(4), Fraction(25, 2), Fraction(24), Fraction(30_000, 1_001), Fraction(30))
TALKS = (
    ("user_qa", (("What is this?", "A cat."),)),
    ("vqa2", (("How many are there?", "12"), ("And now?", "None, as far as I can see."))),
    ("short_caption", (("Describe.", "Noise; nothing but noise – 100 %."),)),
)
VOCABULARY = 420
MOST_PIXELS = 1_200_000


@dataclass(frozen=True, kw_only=True)
class Case:
    """One row and the limits it is shown under. frames: the video as uint8 [n, h, w, 3], its rate in `rate`."""

    number: int
    row: Row
    max_crops: int = 8
    max_frames: int = 8
    frames: NDArray[np.uint8] | None = None
    rate: Fraction = Fraction(1)

    @property
    def parameters(self) -> FeedParameters:
        """No budget binds, so that nothing is reduced."""
        return FeedParameters(
            geometry=VisionGeometry(max_crops=self.max_crops),
            video=VideoParameters(max_frames=self.max_frames, fps=2),
            max_images=20,
            max_tokens=10**6,
            max_inputs=10**4,
            evaluation=True,
        )


@dataclass(frozen=True, kw_only=True)
class Tensors:
    """What a processor makes of a row. levels: uint8 [inputs, 729, 588], before normalisation; pooling: int64
    [pooled, 4 or 9], indices into the flattened patches of the whole row; ids: int64 [tokens]."""

    levels: NDArray[np.uint8]
    pooling: NDArray[np.int64]
    grids: list[list[int]]
    ids: NDArray[np.int64]

    def fingerprints(self) -> dict[str, Any]:
        """Everything but the levels, small enough to be stored."""
        return {
            "inputs": len(self.levels),
            "grids": self.grids,
            "pooling": digest_bytes(np.ascontiguousarray(self.pooling, dtype="<i8").tobytes()),
            "tokens": len(self.ids),
            "ids": digest_bytes(np.ascontiguousarray(self.ids, dtype="<i8").tobytes()),
        }


@lru_cache(maxsize=1)
def tokens() -> TokenTable:
    """The small tokenizer of the tests: its ids say as much about text expansion as a large one's."""
    texts = [text for _, talk in TALKS for turns in talk for text in turns]
    return TokenTable.of(extend_tokenizer(train_tokenizer([*texts, "user assistant subtitle Image"], 400), VOCABULARY))


def make_case(number: int) -> Case:
    """Case `number` of `COUNT`, with its encoded media."""
    rng = np.random.default_rng([20, number])
    task, talk = TALKS[number % len(TALKS)]
    turns: list[Turn] = []
    for question, answer in talk:
        turns += [Turn(role="user", content=question), Turn(role="assistant", content=answer)]
    if number >= SINGLE + SEVERAL:
        frames, rate = _film(rng)
        media: tuple[Media, ...] = (probe_video(_encode(frames, rate), "film.avi"),)
        meta = {"subtitle": [[0.0, 2.5, "Hello."], [900.0, 901.0, "Never shown."]]} if rng.random() < 0.5 else {}
        row = Row(id=str(number), task=task, media=media, conversations=(tuple(turns),), meta=meta)
        return Case(number=number, row=row, max_frames=int(rng.integers(1, 9)), frames=frames, rate=rate)
    count = 1 if number < SINGLE else int(rng.integers(2, 6))
    pictures = [picture(rng, MODES[(number + k) % len(MODES)], 3_000 if count == 1 else 700) for k in range(count)]
    media = tuple(probe_image(data, f"{k}.img") for k, data in enumerate(pictures))
    row = Row(id=str(number), task=task, media=media, conversations=(tuple(turns),))
    return Case(number=number, row=row, max_crops=CROPS[number // len(TALKS) % len(CROPS)] if count == 1 else 8)


def _sides(rng: np.random.Generator, longest: int) -> tuple[int, int]:
    """Height and width, from 1 to `longest` pixels on a logarithmic scale, of a picture that is quick to decode."""
    while True:
        height, width = (round(float(np.exp(rng.uniform(0, np.log(longest))))) for _ in range(2))
        if rng.random() < 0.5:  # half of them at an ordinary aspect
            width = min(max(round(height * float(rng.uniform(0.5, 2.0))), 1), longest)
        if height * width <= MOST_PIXELS:
            return height, width


def picture(rng: np.random.Generator, mode: str, longest: int) -> bytes:
    """Noise in one colour mode, as a file."""
    height, width = _sides(rng, longest)
    stream = io.BytesIO()
    values = np.frombuffer(rng.bytes(height * width * 4), dtype=np.uint8).reshape(height, width, 4)
    if mode == "I;16":
        deep = values[..., 0].astype(np.uint16) * 256 + values[..., 1]
        Image.fromarray(deep).save(stream, "PNG", compress_level=0)
    elif mode in ("P", "P with transparency"):
        image = Image.fromarray(values[..., 0] % 64).convert("P")
        image.putpalette(rng.integers(0, 256, 64 * 3, dtype=np.uint8).tobytes())
        see_through = {"transparency": bytes(rng.integers(0, 256, 64, dtype=np.uint8))} if mode != "P" else {}
        image.save(stream, "PNG", compress_level=0, **see_through)
    elif mode == "CMYK":
        Image.fromarray(values, "CMYK").save(stream, "JPEG", quality=90)
    elif mode == "RGB turned":
        exif = Image.Exif()
        exif[0x0112] = int(rng.integers(2, 9))
        Image.fromarray(values[..., :3].copy()).save(stream, "JPEG", quality=90, exif=exif)
    else:
        bands = {"L": 1, "1": 1, "LA": 2, "RGB": 3, "RGBA": 4}[mode]
        shown = values[..., 0] if bands == 1 else values[..., :bands].copy()
        image = Image.fromarray(shown)
        (image.convert("1") if mode == "1" else image).save(stream, "PNG", compress_level=0)
    return stream.getvalue()


def _film(rng: np.random.Generator) -> tuple[NDArray[np.uint8], Fraction]:
    height, width = (int(rng.integers(8, 200)) for _ in range(2))  # three rows would pass for channels
    frames = rng.integers(0, 256, (int(rng.integers(1, 31)), height, width, 3), dtype=np.uint8)
    return frames, RATES[int(rng.integers(len(RATES)))]


def _encode(frames: NDArray[np.uint8], rate: Fraction) -> bytes:
    """Lossless, so that the frames given to the stock processor are those that decoding gives."""
    stream = io.BytesIO()
    with av.open(stream, "w", format="avi") as container:
        video = container.add_stream("rawvideo", rate=rate)
        video.height, video.width, video.pix_fmt = frames.shape[1], frames.shape[2], "bgr24"
        for number, frame in enumerate(frames):
            shown = av.VideoFrame.from_ndarray(frame[..., ::-1].copy(), format="bgr24")
            shown.pts, shown.time_base = number, 1 / rate
            container.mux(video.encode(shown))
        container.mux(video.encode(None))
    return stream.getvalue()


def ours(case: Case) -> Tensors:
    """The row through our own path, from encoded bytes to tensors."""
    sample: Sample = build_sample(case.row, "set", case.parameters, tokens())
    pooling, patches = [], 0
    for medium in sample.media:
        pooling.append(np.where(medium.pooling >= 0, medium.pooling + patches, -1))
        patches += medium.patches.shape[0] * medium.patches.shape[1]
    return Tensors(
        levels=np.concatenate([medium.patches for medium in sample.media]),
        pooling=np.concatenate(pooling),
        grids=[list(medium.grid) for medium in sample.media],
        ids=sample.tree.input_ids,
    )


def shown_times(case: Case) -> list[Fraction]:
    """Seconds of the frames that a video case shows, by our sampling."""
    return list(lay_out(case.row, "set", case.parameters, tokens()).showing.times)
