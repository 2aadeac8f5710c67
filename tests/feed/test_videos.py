import io
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from torch.nn import functional
from transformers.models.molmo2.video_processing_molmo2 import Molmo2VideoProcessor

from trackyard.acquire.media import UnreadableMedia, frame_table, probe_video
from trackyard.feed import videos
from trackyard.feed.geometry import VisionGeometry
from trackyard.feed.videos import decode_frames, iter_frames, prepare_video

CLIPS = Path(__file__).resolve().parents[2].parent / "shared/data/real/video"
needs_clips = pytest.mark.skipif(
    not CLIPS.is_dir(), reason="the real clips of shared/data/real are not beside this checkout"
)
NEVER_SEEK = 10**9


def encode(
    count: int = 90, gop: int = 30, bframes: int = 3, codec: str = "libx264", fmt: str = "mp4", turn: int = 0
) -> bytes:
    """A moving gradient, 64 x 48 at 30 fps, whose frames all differ."""
    stream = io.BytesIO()
    with av.open(stream, "w", format=fmt) as container:
        video = container.add_stream(codec, rate=30)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        video.gop_size, video.max_b_frames = gop, bframes
        if codec == "libx264":
            video.options = {"sc_threshold": "0", "keyint_min": str(gop), "preset": "ultrafast", "bf": str(bframes)}
        if turn:
            video.set_display_rotation(turn)
        y, x = np.mgrid[:48, :64]
        for k in range(count):
            picture = np.stack([(x * 3 + k * 2) % 256, (y * 5 + k) % 256, (x + y + 4 * k) % 256], axis=-1)
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture.astype(np.uint8), format="rgb24")))
        container.mux(video.encode(None))
    return stream.getvalue()


def every_frame(data: bytes) -> np.ndarray:
    """All frames by the plainest decoding there is."""
    with av.open(io.BytesIO(data)) as container:
        return np.stack([f.to_ndarray(format="rgb24") for f in container.decode(container.streams.best("video"))])


def assert_both_ways_equal(data: bytes, indices: list[int]) -> None:
    table, reference = frame_table(data, "v"), every_frame(data)
    assert len(reference) == table.frames == probe_video(data, "v").frames
    sequential = decode_frames(data, "v", indices, table=table, seek_saves=NEVER_SEEK)
    assert np.array_equal(sequential, reference[indices])
    assert np.array_equal(decode_frames(data, "v", indices, table=table, seek_saves=0), sequential)
    assert np.array_equal(decode_frames(data, "v", indices), sequential)


@needs_clips
@pytest.mark.parametrize(
    ("name", "indices"),
    [
        ("h265_video.mp4", [0, 3, 4, 5, 7, 9]),
        ("av1_video.mkv", [0, 12, 77, 124, 124]),
        ("nasa_13013.mp4", [0, 14, 248, 249, 250, 251, 300, 389, 389]),
    ],
)
def test_real_clips_decode_equally_by_seeking_and_sequentially(name: str, indices: list[int]) -> None:
    assert_both_ways_equal((CLIPS / name).read_bytes(), indices)


@pytest.mark.parametrize("fmt", ["mp4", "matroska", "mpegts", "avi"])
@pytest.mark.parametrize(("gop", "bframes"), [(10, 0), (12, 3), (250, 3), (1, 0)])
def test_encoded_clips_decode_equally_by_seeking_and_sequentially(fmt: str, gop: int, bframes: int) -> None:
    if fmt == "avi" and bframes:
        pytest.skip("AVI stores no presentation times; such files are refused when they are imported")
    data = encode(gop=gop, bframes=bframes, fmt=fmt)
    assert_both_ways_equal(data, [3, 4, 11, 12, 13, 29, 30, 47, 59, 60, 88, 89, 89])


@pytest.mark.parametrize(
    ("codec", "fmt"), [("libvpx", "webm"), ("libvpx-vp9", "webm"), ("mpeg4", "avi"), ("mpeg4", "mp4")]
)
def test_other_codecs(codec: str, fmt: str) -> None:
    assert_both_ways_equal(
        encode(40, gop=10, bframes=2 if codec == "mpeg4" else 0, codec=codec, fmt=fmt), [0, 9, 10, 25, 39]
    )


def test_a_frame_of_its_neighbour_would_not_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    take = videos._take
    monkeypatch.setattr(videos, "_take", lambda source, table, index, path: take(source, table, index - 1, path))
    with pytest.raises(AssertionError):
        assert_both_ways_equal(encode(30), [5, 20])


def test_seeking_decodes_less_and_nothing_after_the_last_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = 0
    decoded = videos.decoded

    def counted(packets):
        nonlocal seen
        for item in decoded(packets):
            seen += 1
            yield item

    monkeypatch.setattr(videos, "decoded", counted)
    data = encode(300, gop=30, bframes=0)
    decode_frames(data, "v", [0, 150, 151, 210])
    assert seen == 4
    seen = 0
    decode_frames(data, "v", [0, 150, 151, 210], seek_saves=NEVER_SEEK)
    assert seen == 211


def test_an_unseekable_stream_is_decoded_from_its_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(videos, "packets_from", lambda *_: None)
    data = encode(90, gop=10)
    assert np.array_equal(decode_frames(data, "v", [5, 40, 41, 80]), every_frame(data)[[5, 40, 41, 80]])


def test_a_lost_frame_is_refused_by_name() -> None:
    data = encode(20)
    table = frame_table(data, "v.mp4")
    table.times[7] += 1
    with pytest.raises(UnreadableMedia, match=r"v.mp4: frame 7 of 20, at 0.233 s, does not decode") as caught:
        list(iter_frames(data, "v.mp4", [7], table=table))
    assert caught.value.reason == "damaged video"


@pytest.mark.parametrize(("degrees", "turns"), [(90, 1), (180, 2), (-90, 3)])
def test_rotation_is_applied(degrees: int, turns: int) -> None:
    data = encode(5, turn=degrees)
    media = probe_video(data, "v.mp4")
    found = decode_frames(data, "v.mp4", [2])
    assert found.shape[1:] == (media.height, media.width, 3)
    assert (media.width, media.height) == ((48, 64) if turns % 2 else (64, 48))
    assert np.array_equal(found[0], np.rot90(every_frame(data)[2], turns))


class StockPipeline:
    """The stock processor itself, with stand-ins for the resize and normalisation that it takes from torchvision."""

    build = Molmo2VideoProcessor._build_video_patches
    preprocess = Molmo2VideoProcessor._preprocess

    def _build_video_patches(self, *args: object, **kwargs: object) -> object:
        return self.build(*args, **kwargs)

    def resize(self, image: torch.Tensor, *, size: object, resample: object, antialias: bool) -> torch.Tensor:
        shape = (size["height"], size["width"])  # type: ignore[index]
        return functional.interpolate(image, size=shape, mode="bilinear", align_corners=False, antialias=antialias)

    def rescale_and_normalize(self, image: torch.Tensor, *_: object) -> torch.Tensor:
        return (image.float() - 127.5) / 127.5


@pytest.mark.parametrize("geometry", [VisionGeometry(), VisionGeometry(crop_size=56, margin=(1, 1))])
def test_tensors_equal_the_stock_ones(geometry: VisionGeometry) -> None:
    data, times = encode(60), [Fraction(0), Fraction(1, 2), Fraction(2)]
    found = prepare_video(data, "v.mp4", times, geometry)
    frames = torch.from_numpy(every_frame(data)[[0, 15, 59]]).permute(0, 3, 1, 2).contiguous()
    size = type("Size", (), {"height": geometry.crop_size, "width": geometry.crop_size})()
    stock = StockPipeline().preprocess(
        [frames], size, 2, True, 1 / 255, True, [0.5] * 3, [0.5] * 3, geometry.patch_size, [3, 3]
    )
    count, rows, cols = stock["video_grids"][0].tolist()
    assert found.grid == (count * rows, cols, 0, 0)
    assert np.array_equal(found.pooling, stock["video_token_pooling"].numpy())
    patches = stock["pixel_values_videos"].numpy()
    assert found.patches.shape == patches.shape == (3, geometry.patches, 588)
    assert (found.patches != patches).mean() < 1e-2  # a gradient has many exact halves, see resize.py
    assert np.abs(found.patches - patches).max() < 2.01 / 255


def test_a_clip_starts_at_its_start() -> None:
    data, geometry = encode(90), VisionGeometry(crop_size=56, margin=(1, 1))
    clip = prepare_video(data, "v", [Fraction(0), Fraction(1, 2)], geometry, start=Fraction(1))
    whole = prepare_video(data, "v", [Fraction(1), Fraction(3, 2)], geometry)
    assert np.array_equal(clip.patches, whole.patches)
    assert whole.pooling.shape == (2 * 4, 9)
