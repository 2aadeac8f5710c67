import io
import os
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import cache
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trackyard.acquire.media import UnreadableMedia, frame_table, probe_video
from trackyard.feed import video_frames
from trackyard.feed.video_frames import decode_frames, iter_frames, nearest_frames

CLIPS = Path(__file__).resolve().parents[2].parent / "shared/data/real/video"
needs_clips = pytest.mark.skipif(
    not CLIPS.is_dir(), reason="the real clips of shared/data/real are not beside this checkout"
)
NEVER_SEEK = 10**9


def encode(
    count: int = 90,
    gop: int = 30,
    bframes: int = 3,
    codec: str = "libx264",
    fmt: str = "mp4",
    turn: int = 0,
    options: dict[str, str] | None = None,
    step: Callable[[int], int] = lambda k: k,
) -> bytes:
    """A moving gradient, 64 x 48, whose frames all differ; frame k is shown at step(k) / 30 s."""
    stream = io.BytesIO()
    with av.open(stream, "w", format=fmt) as container:
        video = container.add_stream(codec, rate=30)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        video.gop_size, video.max_b_frames = gop, bframes
        if codec == "libx264":
            video.options = {"sc_threshold": "0", "keyint_min": str(gop), "preset": "ultrafast", "bf": str(bframes)}
        if options:
            video.options = video.options | options
        if turn:
            video.set_display_rotation(turn)
        y, x = np.mgrid[:48, :64]
        for k in range(count):
            picture = np.stack([(x * 3 + k * 2) % 256, (y * 5 + k) % 256, (x + y + 4 * k) % 256], axis=-1)
            frame = av.VideoFrame.from_ndarray(picture.astype(np.uint8), format="rgb24")
            frame.pts, frame.time_base = step(k), Fraction(1, 30)
            container.mux(video.encode(frame))
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
    monkeypatch.setattr(video_frames, "_until", lambda source, wanted: next(source)[1])
    with pytest.raises(AssertionError):
        assert_both_ways_equal(encode(30), [5, 20])


def test_seeking_decodes_less_and_nothing_after_the_last_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = 0
    decoded = video_frames.decoded

    def counted(packets):
        nonlocal seen
        for item in decoded(packets):
            seen += 1
            yield item

    monkeypatch.setattr(video_frames, "decoded", counted)
    data = encode(300, gop=30, bframes=0)
    decode_frames(data, "v", [0, 150, 151, 210])
    assert seen == 4
    seen = 0
    decode_frames(data, "v", [0, 150, 151, 210], seek_saves=NEVER_SEEK)
    assert seen == 211


def test_an_unseekable_stream_is_decoded_from_its_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video_frames, "packets_from", lambda *_: None)
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


H264 = {
    "pyramid of B-frames": {"bf": "7", "b_strategy": "0", "x264-params": "b-pyramid=normal"},
    "flat B-frames": {"b_strategy": "0", "x264-params": "b-pyramid=none"},
    "open groups": {"x264-params": "open-gop=1:b-pyramid=normal"},
    "interlaced": {"x264-params": "interlaced=1:b-pyramid=strict"},
    "refreshed in parts": {"bf": "0", "x264-params": "intra-refresh=1"},
}
OTHERS = {
    "H.265": ("libx265", "mp4", {"preset": "ultrafast", "x265-params": "keyint=12:bframes=3:log-level=none:pools=1"}),
    "H.265 in layers": (
        "libx265",
        "matroska",
        {"preset": "ultrafast", "x265-params": "keyint=12:bframes=3:temporal-layers=2:log-level=none:pools=1"},
    ),
    "VP9": ("libvpx-vp9", "webm", {"cpu-used": "8", "auto-alt-ref": "1", "lag-in-frames": "8"}),
    "AV1": ("libsvtav1", "mp4", {"preset": "12", "svtav1-params": "lp=1"}),
    "MPEG-4": ("mpeg4", "mp4", {"bf": "2"}),
    "MPEG-2": ("mpeg2video", "mpegts", {"bf": "2"}),
}


@cache
def sample(name: str, fmt: str) -> tuple[bytes, np.ndarray]:
    """(encoded, all its frames); frames of MP4 and Matroska at uneven times."""
    if name in OTHERS:
        codec, fmt, options = OTHERS[name]
        data = encode(48, gop=12, codec=codec, fmt=fmt, options=options)
        # Where root encodes with SVT-AV1 the thread becomes a real-time one. All processes that tests start later would
        # be as well, and ranks that wait for each other by spinning then keep each other from the cores, for ever.
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    else:
        uneven = fmt == "matroska"
        data = encode(72, gop=12, fmt=fmt, options=H264[name], step=lambda k: k + 7 * (k // 5) if uneven else k)
    return data, every_frame(data)


@settings(max_examples=8, deadline=None)
@given(data=st.data())
@pytest.mark.parametrize(
    ("name", "fmt"),
    [*((name, fmt) for name in H264 for fmt in ("mp4", "mpegts", "matroska")), *((n, "") for n in OTHERS)],
)
def test_any_choice_of_frames_equals_full_decoding(name: str, fmt: str, data: st.DataObject) -> None:
    encoded, reference = sample(name, fmt)
    table = frame_table(encoded, "v")
    assert table.frames == len(reference)
    indices = sorted(data.draw(st.lists(st.integers(0, table.frames - 1), min_size=1, max_size=9)))
    saves = data.draw(st.sampled_from([0, video_frames.SEEK_SAVES, NEVER_SEEK]))
    assert np.array_equal(decode_frames(encoded, "v", indices, table=table, seek_saves=saves), reference[indices])


def test_pictures_behind_a_partial_refresh_would_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    encoded, reference = sample("refreshed in parts", "mp4")
    assert np.array_equal(decode_frames(encoded, "v", [50, 59], seek_saves=0), reference[[50, 59]])
    monkeypatch.setattr(video_frames, "_from_key", lambda source, key_pts: source)
    assert not np.array_equal(decode_frames(encoded, "v", [50, 59], seek_saves=0), reference[[50, 59]])


def decoded_for(monkeypatch: pytest.MonkeyPatch, work: Callable[[], object]) -> int:
    """Frames that come out of the decoder during `work`."""
    seen, plain = 0, video_frames.decoded

    def counted(packets: object) -> Iterator[object]:
        nonlocal seen
        for item in plain(packets):
            seen += 1
            yield item

    with monkeypatch.context() as patched:
        patched.setattr(video_frames, "decoded", counted)
        work()
    return seen


def test_frames_that_nothing_refers_to_are_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    encoded, _ = sample("flat B-frames", "mp4")  # I b b b P b b b P …
    frugal = decoded_for(monkeypatch, lambda: decode_frames(encoded, "v", [2, 10], seek_saves=NEVER_SEEK))
    assert frugal <= 6
    monkeypatch.setattr(video_frames, "_SKIPPING", frozenset())
    assert decoded_for(monkeypatch, lambda: decode_frames(encoded, "v", [2, 10], seek_saves=NEVER_SEEK)) >= 11


def test_a_frame_that_is_lost_by_saving_is_fetched_by_full_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    encoded, reference = sample("flat B-frames", "mp4")
    thinned = video_frames._thinned

    def losing(*arguments: object) -> Iterator[tuple[int, av.VideoFrame]]:
        found = list(thinned(*arguments))
        yield from found[:-1]

    monkeypatch.setattr(video_frames, "_thinned", losing)
    assert np.array_equal(decode_frames(encoded, "v", [3, 30, 31, 60]), reference[[3, 30, 31, 60]])


@pytest.mark.parametrize("name", ["pyramid of B-frames", "flat B-frames", "open groups", "H.265", "VP9"])
def test_approximate_frames_are_near_and_tell_their_own_times(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    encoded, reference = sample(name, "mp4")
    table = frame_table(encoded, "v")
    wanted = list(range(1, table.frames, 7))
    found = list(nearest_frames(encoded, "v", wanted, (48, 64), table=table))
    assert [index for index, _ in found] == sorted(index for index, _ in found)
    assert max(abs(shown - asked) for (shown, _), asked in zip(found, wanted, strict=True)) <= 4
    for index, pixels in found:
        assert np.abs(pixels.astype(int) - reference[index]).mean() < 2
        assert np.abs(pixels.astype(int) - reference[(index + 6) % table.frames]).mean() > 5  # negative control
    if name == "flat B-frames":
        near = decoded_for(monkeypatch, lambda: list(nearest_frames(encoded, "v", wanted, (48, 64), table=table)))
        assert near < decoded_for(monkeypatch, lambda: decode_frames(encoded, "v", wanted, table=table))
        assert [index for index, _ in found] != wanted


def test_approximate_frames_are_upright_scaled_and_need_no_seeking(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encode(60, gop=12, turn=90)
    table = frame_table(data, "v")
    found = dict(nearest_frames(data, "v", [0, 30, 59], (32, 24), table=table))
    assert {pixels.shape for pixels in found.values()} == {(32, 24, 3)}
    whole = np.rot90(every_frame(data)[0])[1::2, 1::2]
    assert np.abs(found[0].astype(int) - whole).mean() < 8 < np.abs(np.rot90(found[0], 2).astype(int) - whole).mean()
    monkeypatch.setattr(video_frames, "packets_from", lambda *_: None)
    assert [index for index, _ in nearest_frames(data, "v", [0, 30, 59], (32, 24), table=table)] == [0, 30, 59]


def test_eight_hours_are_sampled_by_seeking() -> None:
    data = encode(480, gop=4, bframes=0, codec="mpeg4", step=lambda k: 1800 * k)  # a frame per minute
    table = frame_table(data, "v")
    assert table.duration > 7.9 * 3600
    indices = [0, 119, 240, 479]
    assert np.array_equal(decode_frames(data, "v", indices, table=table), every_frame(data)[indices])


def test_a_stream_cut_inside_a_group_of_pictures_keeps_its_times() -> None:
    data = encode(90, gop=15, bframes=0, fmt="mpegts")
    cut = data[: 188 * 3] + data[len(data) // 3 // 188 * 188 :]
    table = frame_table(cut, "v")
    assert 0 < table.frames < 90
    found = decode_frames(cut, "v", [0, table.frames - 1], table=table)
    assert np.array_equal(found[1], every_frame(data)[-1])
