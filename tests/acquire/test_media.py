import io
import pickle
import struct
import subprocess
import sys
import time
import zlib
from fractions import Fraction
from functools import cache
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from tests.memory import peak_growth
from trackyard.acquire import media, video_limits
from trackyard.acquire.media import MAX_PIXELS, UnreadableMedia, frame_table, probe_image, probe_video

CLIPS = Path(__file__).resolve().parents[2].parent / "shared/data/real/video"


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


@cache
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
    with peak_growth() as grown:
        assert reason_of(data) == "image above 64 megapixels"
        assert grown() < 20_000_000


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


def gif_of(pictures: int) -> bytes:
    one = encoded("GIF", 8, 8)
    at = one.index(b"\x2c\0\0\0\0\x08\0\x08\0")
    return one[:at] + one[at:-1] * pictures + one[-1:]


def webp_of(pictures: int, width: int = 8, height: int = 8) -> bytes:
    stream = io.BytesIO()
    two = [Image.new("RGB", (8, 8), (k, 0, 0)) for k in range(2)]
    two[0].save(stream, "WEBP", save_all=True, append_images=two[1:], lossless=True)
    data = bytearray(stream.getvalue())
    canvas, frame = data.index(b"VP8X") + 12, data.index(b"ANMF")
    data[canvas : canvas + 6] = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    end = frame + 8 + struct.unpack_from("<I", data, frame + 4)[0]
    data = data[:frame] + data[frame:end] * pictures
    data[4:8] = struct.pack("<I", len(data) - 8)
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "pictures"), [(gif_of(10_000), 10_000), (webp_of(10_000), 10_000)], ids=["gif", "webp"]
)
def test_only_the_first_of_ten_thousand_pictures_is_decoded(
    data: bytes, pictures: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = Image.open(io.BytesIO(data))
    assert getattr(image, "n_frames", 0) == pictures
    monkeypatch.setattr(type(image), "seek", lambda _image, frame: pytest.fail(f"picture {frame} was looked for"))
    assert probe_image(data, "x").frames == 1


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


def parts(data: bytes, name: bytes) -> int:
    """Where the body of the only box of this name begins, behind its version and flags."""
    assert data.count(name) == 1
    return data.index(name) + 8


def patched(data: bytes, *changes: tuple[int, int]) -> bytes:
    """data with 32-bit words replaced: (position, value)."""
    copy = bytearray(data)
    for at, value in changes:
        copy[at : at + 4] = struct.pack(">I", value)
    return bytes(copy)


def repeated(frames: int) -> bytes:
    """An MP4 of one tiny key frame, shown `frames` times at 30 frames/s; its tables and media data say so."""
    one = clip([0], codec="mpeg4")
    size = struct.unpack_from(">I", one, parts(one, b"stsz"))[0]
    at = struct.unpack_from(">I", one, parts(one, b"stco") + 4)[0]
    data = patched(
        one,
        (parts(one, b"stsz"), size),
        (parts(one, b"stsz") + 4, frames),
        (parts(one, b"stsc") + 8, frames),
        (parts(one, b"stts") + 4, frames),
        (parts(one, b"stts") + 8, 33),
        (one.index(b"mdat") - 4, 8 + size * frames),
    )
    # Without its edit list, which would end it after one frame.
    return (data[:at] + data[at : at + size] * frames + data[at + size :]).replace(b"edts", b"free")


def test_eight_hours_are_measured_in_bounded_time() -> None:
    frames = 8 * 3600 * 30
    data = repeated(frames)
    started = time.monotonic()
    table = frame_table(data, "v")
    assert time.monotonic() - started < 30
    assert table.frames == frames
    assert table.duration == frames * 33 * table.time_base
    assert table.keyframes.all()


@pytest.mark.parametrize(
    ("name", "limit", "probed"),
    [
        ("MAX_FRAMES", 19, lambda: clip([40 * k for k in range(20)])),
        ("MAX_SECONDS", 0.79, lambda: clip([40 * k for k in range(20)])),
        ("MAX_PROBE_PIXELS", 20 * 64 * 48 - 1, lambda: clip([40 * k for k in range(20)], "webm", codec="libvpx")),
    ],
)
def test_limits_of_a_video_are_inclusive(monkeypatch: pytest.MonkeyPatch, name: str, limit: float, probed) -> None:
    data = probed()
    monkeypatch.setattr(media, name, limit + 2 * 64 * 48 if name == "MAX_PROBE_PIXELS" else limit + 1)
    assert probe_video(data, "v").frames == 20
    monkeypatch.setattr(media, name, limit)
    assert reason_of(data, probe_video) == "video above the limits"


def test_the_limits_hold_what_the_spec_calls_ordinary() -> None:
    eight_hours = 8 * 3600
    assert eight_hours * 60 <= video_limits.MAX_FRAMES
    assert eight_hours <= video_limits.MAX_SECONDS
    assert eight_hours * (30 + 48_000 / 1024) <= video_limits.MAX_INDEX


@pytest.mark.parametrize("fmt", ["matroska", "mp4"])
def test_a_frame_days_later_is_refused(fmt: str) -> None:
    assert reason_of(clip([0, 40, 25 * 3600 * 1000], fmt), probe_video) == "video above the limits"


def samples_of(count: int) -> bytes:
    """A valid MP4 of under 2 kB whose tables state `count` samples of 100 bytes."""
    data = clip([40 * k for k in range(10)])
    return patched(
        data,
        (parts(data, b"stsz"), 100),
        (parts(data, b"stsz") + 4, count),
        (parts(data, b"stsc") + 8, count),
        (parts(data, b"stts") + 4, count),
    )


def fragmented() -> bytes:
    stream = io.BytesIO()
    with av.open(stream, "w", format="mp4", options={"movflags": "frag_keyframe+empty_moov"}) as container:
        video = container.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        for k in range(20):
            container.mux(video.encode(av.VideoFrame.from_ndarray(np.full((48, 64, 3), k, np.uint8), format="rgb24")))
        container.mux(video.encode(None))
    return stream.getvalue()


def test_tables_that_state_more_than_a_file_can_hold_are_refused() -> None:
    whole, pieces = clip([40 * k for k in range(10)]), fragmented()
    edits = parts(whole, b"elst")
    assert probe_video(pieces, "v").frames == 20
    for data in (
        samples_of(50_000_000),
        samples_of(2**32 - 1),
        patched(whole, (edits, 1_000_000)),
        patched(pieces, (pieces.index(b"trun") + 8, 2**31)),
        whole.replace(b"udta", b"cmov"),
        b"\0\0\0\x10free\0\0\0\0moov" + samples_of(2**31),
        samples_of(2**31).replace(b"mdia", b"wave"),
    ):
        assert reason_of(data, probe_video) == "video above the limits"


def test_words_in_the_media_data_are_not_taken_for_tables() -> None:
    data = clip([40 * k for k in range(10)], codec="mpeg4")
    size = struct.unpack_from(">I", data, data.index(b"mdat") - 4)[0]
    at = data.index(b"mdat") - 4 + size
    words = b"stsz" + bytes(4) + b"\xff" * 8 + b"cmov"
    longer = patched(data[:at] + words + data[at:], (data.index(b"mdat") - 4, size + len(words)))
    assert probe_video(longer, "v").frames == 10


def with_plain_sound() -> bytes:
    stream = io.BytesIO()
    with av.open(stream, "w", format="mov") as container:
        video = container.add_stream("mpeg4", rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        sound = container.add_stream("pcm_u8", rate=48_000, layout="mono")
        for k in range(10):
            container.mux(video.encode(av.VideoFrame.from_ndarray(np.full((48, 64, 3), k, np.uint8), format="rgb24")))
        for second in range(65):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 48_000), np.uint8), format="u8", layout="mono")
            frame.sample_rate, frame.pts = 48_000, second * 48_000
            container.mux(sound.encode(frame))
        container.mux(video.encode(None))
    return stream.getvalue()


def test_uncompressed_sound_has_a_sample_for_each_tick() -> None:
    data = with_plain_sound()
    assert struct.pack(">II", 1, 65 * 48_000) in data  # more than MAX_INDEX samples of one byte
    assert probe_video(data, "v").frames == 10
    assert reason_of(data.replace(b"soun", b"vide"), probe_video) == "video above the limits"
    assert reason_of(
        data.replace(struct.pack(">II", 65 * 48_000, 1), struct.pack(">II", 65 * 48_000, 2)), probe_video
    ) == ("video above the limits")


def coded_as_png(width: int, height: int) -> bytes:
    """A QuickTime file whose only frame is a PNG of that size, while its header says 64 x 48."""
    stream = io.BytesIO()
    with av.open(stream, "w", format="mov") as container:
        video = container.add_stream("png", rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, "gray"
        video.time_base = video.codec_context.time_base = Fraction(1, 25)
        packet = av.Packet(png(width, height))
        packet.pts = packet.dts = 0
        packet.stream, packet.time_base = video, Fraction(1, 25)
        container.mux(packet)
    return stream.getvalue()


def test_only_demuxers_of_videos_are_opened() -> None:
    assert reason_of(encoded("PNG"), probe_video) == "video without frames"
    assert reason_of(encoded("JPEG"), probe_video) == "video without frames"


BOMBS = {
    "png-144": lambda: png(12_000, 12_000),
    "png-576": lambda: png(24_000, 24_000),
    "jpeg": lambda: JPEG_65500,
    "webp": lambda: webp_of(2, 16_384, 16_384),
    "png-texts": lambda: png(
        10, 10, *[chunk(b"zTXt", b"C%d\0\0" % k + zlib.compress(bytes(1 << 20), 9)) for k in range(150)]
    ),
    "png-profile": lambda: png(10, 10, chunk(b"iCCP", b"C\0\0" + zlib.compress(bytes(100 << 20), 9))),
    "mp4-tables": lambda: samples_of(50_000_000),
    "video-png": lambda: coded_as_png(16_000, 16_000),
}


ROOT = Path(__file__).parents[2]


def growth(data: bytes, folder: Path, before: str = "") -> int:
    """Megabytes by which the peak memory of a fresh process grows while it refuses `data`."""
    (folder / "bomb").write_bytes(data)
    code = f"""
import sys
from tests.memory import peak_growth
from trackyard.acquire import media, video_limits
data = open({str(folder / "bomb")!r}, "rb").read()
for probe in (media.probe_image, media.probe_video):
    try:
        probe(b"", "x")  # whatever is imported late
    except media.UnreadableMedia:
        pass
{before}
with peak_growth() as grown:
    for probe in (media.probe_image, media.probe_video):
        try:
            probe(data, "x")
            sys.exit("it was accepted")
        except media.UnreadableMedia:
            pass
    print(grown() // 10**6)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.parametrize("bomb", BOMBS)
def test_bombs_of_every_kind_are_refused_within_200_mb(bomb: str, tmp_path: Path) -> None:
    data = BOMBS[bomb]()
    assert len(data) < 1_000_000
    assert growth(data, tmp_path) < 200


def test_the_negative_control_ffmpeg_alone_takes_what_tables_state(tmp_path: Path) -> None:
    data = samples_of(10_000_000)
    assert growth(data, tmp_path) < 50
    assert growth(data, tmp_path, "media.check_tables = lambda data: None") > 250


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


SHORT_OF_MEMORY = """
import resource, sys
from pathlib import Path
from trackyard.acquire.media import UnreadableMedia, open_image
data = Path(sys.argv[1]).read_bytes()
open_image(data, "x").load()
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (30 << 20), resource.RLIM_INFINITY))
try:
    open_image(data, "x").load()
except MemoryError:
    print("the process")
except UnreadableMedia as error:
    print(f"the picture: {error}")
"""


def test_a_process_short_of_memory_is_no_fault_of_the_picture(tmp_path: Path) -> None:
    """Otherwise how much memory a machine has would decide which rows are trained on."""
    path = tmp_path / "large.png"
    Image.new("RGB", (6000, 8000), "navy").save(path)
    ended = subprocess.run(
        [sys.executable, "-c", SHORT_OF_MEMORY, str(path)], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.stdout == "the process\n", ended.stderr
