import io
import pickle
import resource
import struct
import zlib
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from trackyard.acquire import media
from trackyard.acquire.media import MAX_PIXELS, UnreadableMedia, frame_table, probe_image, probe_video

CLIPS = Path(__file__).resolve().parents[2].parent / "shared/data/real/video"


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, *extra: bytes) -> bytes:
    """A PNG whose header promises width x height grey pixels; the pixels follow as one compressed run of zeros."""
    squeeze = zlib.compressobj(9)
    rows = b"".join(squeeze.compress(bytes(1 << 20)) for _ in range(width * height >> 20)) + squeeze.flush()
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(extra) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def encoded(fmt: str, width: int = 30, height: int = 20, **options: object) -> bytes:
    stream = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(noise).save(stream, fmt, **options)
    return stream.getvalue()


def reason_of(data: bytes, probe=probe_image) -> str:
    with pytest.raises(UnreadableMedia) as caught:
        probe(data, "x")
    return caught.value.reason


JPEG_65500 = (
    b"\xff\xd8\xff\xc0\x00\x11\x08" + struct.pack(">HH", 65_500, 65_500) + b"\x03\x01\x22\x00\x02\x11\x01\x03\x11\x01"
)


@pytest.mark.parametrize("data", [png(12_000, 12_000), png(24_000, 24_000), png(8_001, 8_000), JPEG_65500])
def test_bombs_are_refused_from_the_header(data: bytes) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert reason_of(data) == "image above 64 megapixels"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000  # kilobytes


def test_the_limit_is_64_million_pixels_inclusive(monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAX_PIXELS == 64_000_000
    monkeypatch.setattr(media, "MAX_PIXELS", 600)
    assert probe_image(encoded("PNG"), "x").width == 30
    monkeypatch.setattr(media, "MAX_PIXELS", 599)
    assert reason_of(encoded("PNG")) == "image above 64 megapixels"


@pytest.mark.parametrize("fmt", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "PPM", "JPEG2000"])
def test_formats_are_read_and_every_cut_is_noticed(fmt: str) -> None:
    data = encoded(fmt)
    found = probe_image(data, f"x.{fmt}")
    assert (found.kind, found.width, found.height, found.frames, found.fps, found.duration) == (
        "image",
        30,
        20,
        1,
        0,
        0,
    )
    assert found.data is data
    for keep in (0, 5, len(data) // 4, len(data) // 2, len(data) * 3 // 4):
        assert reason_of(data[:keep]) == "unreadable image"


def test_postscript_and_text_bombs_are_not_opened() -> None:
    assert reason_of(encoded("EPS")) == "unreadable image"
    bomb = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(200 << 20), 9))
    assert reason_of(png(10, 10, bomb)) == "unreadable image"


def test_only_the_first_of_ten_thousand_pictures_is_decoded() -> None:
    stream = io.BytesIO()
    pictures = [Image.new("P", (8, 8), k % 2) for k in range(500)]
    pictures[0].save(stream, "GIF", save_all=True, append_images=pictures[1:])
    assert probe_image(stream.getvalue(), "x.gif").frames == 1


def test_the_size_is_that_after_exif_orientation() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    found = probe_image(encoded("JPEG", exif=exif), "x.jpg")
    assert (found.width, found.height) == (20, 30)


def test_the_reason_crosses_process_boundaries() -> None:
    with pytest.raises(UnreadableMedia) as caught:
        probe_video(b"", "x")
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (copy.reason, str(copy)) == ("video without frames", str(caught.value))


def clip(times: list[int], fmt: str = "mp4", codec: str = "libx264", bframes: int = 0, gop: int = 12) -> bytes:
    """Frames shown at the given milliseconds."""
    stream = io.BytesIO()
    with av.open(stream, "w", format=fmt) as container:
        video = container.add_stream(codec, rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        video.time_base = video.codec_context.time_base = Fraction(1, 1000)
        video.gop_size, video.max_b_frames = gop, bframes
        if codec == "libx264":
            video.options = {"preset": "ultrafast", "bf": str(bframes)}
        for k, time in enumerate(times):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), k * 5 % 256, dtype=np.uint8), format="rgb24")
            frame.pts, frame.time_base = time, Fraction(1, 1000)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
    return stream.getvalue()


def audio(seconds: int = 1) -> bytes:
    stream = io.BytesIO()
    with av.open(stream, "w", format="mp4") as container:
        sound = container.add_stream("aac", rate=16_000)
        frame = av.AudioFrame.from_ndarray(
            np.zeros((1, 16_000 * seconds), dtype=np.float32), format="fltp", layout="mono"
        )
        frame.sample_rate, frame.pts = 16_000, 0
        container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    return stream.getvalue()


PLAYLIST = b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile:///etc/hostname.ts\n#EXT-X-ENDLIST\n"


@pytest.mark.parametrize(
    "data", [b"", b"garbage" * 200, audio(), encoded("PNG")[:40], PLAYLIST, b"ffconcat version 1.0\nfile x.mp4\n"]
)
def test_what_holds_no_frames(data: bytes) -> None:
    assert reason_of(data, probe_video) == "video without frames"


@pytest.mark.parametrize(("fmt", "bframes"), [("mp4", 0), ("mp4", 3), ("matroska", 3), ("mov", 0)])
def test_frame_times_decide_and_not_the_rate_in_the_header(fmt: str, bframes: int) -> None:
    times = [0, 40, 50, 300, 310, 320, 900, 1000]
    table = frame_table(clip(times, fmt, bframes=bframes), "v")
    seconds = [Fraction(int(tick)) * table.time_base for tick in table.times]
    assert [float(s) for s in seconds] == pytest.approx([t / 1000 for t in times], abs=1e-9)
    assert table.frames == 8
    assert table.duration > 1
    assert table.fps == pytest.approx(8 / float(table.duration))


def test_measured_metadata() -> None:
    found = probe_video(clip([40 * k for k in range(50)]), "v.mp4")
    assert (found.kind, found.width, found.height, found.frames) == ("video", 64, 48, 50)
    assert (found.duration, found.fps) == (2.0, 25.0)


def test_a_video_that_does_not_start_at_zero_starts_at_its_first_frame() -> None:
    table = frame_table(clip([5000 + 40 * k for k in range(10)], "matroska"), "v")
    assert (table.origin, table.times[0], table.times[-1]) == (5000, 0, 360)
    assert table.duration == Fraction(400, 1000)


def test_a_one_frame_video() -> None:
    found = probe_video(clip([0]), "v.mp4")
    assert found.frames == 1


def test_key_frames_are_found() -> None:
    table = frame_table(clip([40 * k for k in range(50)], gop=12), "v")
    assert np.flatnonzero(table.keyframes).tolist() == [0, 12, 24, 36, 48]


def test_hidden_frames_of_vp8_do_not_count() -> None:
    data = clip([40 * k for k in range(60)], "webm", codec="libvpx")
    assert frame_table(data, "v").frames == 60


def test_a_stream_cut_inside_a_group_of_pictures_begins_with_its_first_whole_frame() -> None:
    data = clip([40 * k for k in range(60)], "mpegts", bframes=0, gop=12)
    table = frame_table(data, "v")
    cut = data[: 188 * 3] + data[len(data) // 3 // 188 * 188 :]
    found = frame_table(cut, "v")
    assert 0 < found.frames < table.frames
    assert found.keyframes[0]
    assert found.times[0] == 0
    assert probe_video(cut, "v").frames == found.frames


@pytest.mark.parametrize("fmt", ["mp4", "matroska", "mpegts"])
def test_cut_files_are_shorter_or_refused(fmt: str) -> None:
    data = clip([40 * k for k in range(100)], fmt, bframes=3)
    for keep in (0.5, 0.7, 0.9, 0.97):
        # Either the frames that are left, at their own times, or a refusal; never the full length from a header.
        try:
            found = probe_video(data[: int(len(data) * keep)], "v")
        except UnreadableMedia:
            continue
        assert found.frames < 100
        assert found.duration <= 4


def test_a_container_without_presentation_times_is_refused() -> None:
    assert reason_of(clip([40 * k for k in range(30)], "avi", bframes=3), probe_video) == "damaged video"


def test_frames_above_the_limit_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(media, "MAX_PIXELS", 64 * 48 - 1)
    assert reason_of(clip([0, 40]), probe_video) == "image above 64 megapixels"


@pytest.mark.skipif(not CLIPS.is_dir(), reason="the real clips of shared/data/real are not beside this checkout")
def test_the_best_stream_of_several_is_measured() -> None:
    data = (CLIPS / "nasa_13013.mp4").read_bytes()
    table = frame_table(data, "nasa_13013.mp4")
    assert (table.stream_index, table.frames, table.duration) == (3, 390, Fraction(13013, 1000))
    assert (table.width, table.height, table.rotation) == (480, 270, 0)
    assert frame_table((CLIPS / "av1_video.mkv").read_bytes(), "av1").duration == 5
