import itertools
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackyard.acquire.media import FrameTable, frame_table, probe_video
from trackyard.errors import ConfigError, DataError
from trackyard.feed.frames import (
    VideoParameters,
    clip_bounds,
    exact,
    frame_indices,
    frame_limit,
    frames_that_fit,
    plan_frames,
    sample_times,
    time_text,
    time_tokens,
)
from trackyard.row import Media

F = Fraction
CLIPS = Path(__file__).resolve().parents[2].parent / "shared/data/real/video"
needs_clips = pytest.mark.skipif(
    not CLIPS.is_dir(), reason="the real clips of shared/data/real are not beside this checkout"
)
ROOMY = {"max_tokens": 36_864, "inputs_budget": 384, "frame_tokens": 83}


def video(duration: float, frames: int) -> Media:
    return Media(
        kind="video", data=b"", path="v.mp4", width=4, height=4, frames=frames, fps=frames / duration, duration=duration
    )


def table(times: list[int], time_base: Fraction, duration: Fraction) -> FrameTable:
    return FrameTable(
        times=np.array(times, dtype=np.int64), time_base=time_base, origin=0, duration=duration, stream_index=0,
        keyframes=np.ones(len(times), dtype=np.bool_), width=4, height=4, rotation=0,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("duration", "limit", "count", "some"),
    [
        (F(10), 128, 21, {0: F(0), 1: F(1, 2), 19: F(19, 2), 20: F(10)}),
        (F(127, 2), 128, 128, {126: F(63), 127: F(127, 2)}),
        (F(64), 128, 128, {1: F(64, 127), 2: F(128, 127), 127: F(64)}),
        (F(100), 128, 128, {1: F(100, 127), 126: F(12600, 127), 127: F(100)}),
        (F(3, 10), 128, 2, {0: F(0), 1: F(3, 10)}),
        (F(383, 2), 384, 384, {382: F(191), 383: F(383, 2)}),
        (F(51, 5), 8, 8, {1: F(51, 35), 2: F(102, 35), 7: F(51, 5)}),
    ],
)
def test_the_sampling_table_of_the_spec(duration: Fraction, limit: int, count: int, some: dict) -> None:
    times = sample_times(duration, 10**6, F(30), limit, F(2))
    assert len(times) == count
    assert {k: times[k] for k in some} == some


def test_slow_sources() -> None:
    assert sample_times(F(10), 10, F(1), 128, F(2)) == [F(k) for k in range(11)]
    assert len(sample_times(F(10), 10, F(1), 128, F(2), "repeat")) == 21
    assert frame_indices(table(list(range(10)), F(1), F(10)), sample_times(F(10), 10, F(1), 128, F(2))) == [
        *range(10),
        9,
    ]


def test_one_frame_is_shown_at_zero() -> None:
    assert sample_times(F(1, 25), 1, F(25), 128, F(2)) == [F(0)]
    assert sample_times(F(100), 2500, F(25), 1, F(2)) == [F(0)]
    assert plan_frames(video(0.04, 1), VideoParameters(), **ROOMY) == [F(0)]


ticks = st.integers(1, 10**7)


@given(ticks, st.integers(2, 1000), st.integers(2, 400), st.sampled_from([F(2), F(1), F(1, 2), F(30000, 1001)]))
def test_times_rise_from_the_start_to_the_end_within_the_limit(
    span: int, frames: int, limit: int, fps: Fraction
) -> None:
    duration = F(span, 90_000)
    times = sample_times(duration, frames, frames / duration, limit, fps)
    assert times[0] == 0
    assert times[-1] == duration
    assert all(a < b for a, b in itertools.pairwise(times))
    assert len(times) <= limit


@given(
    st.lists(st.integers(1, 5000), min_size=1, max_size=60),
    st.lists(st.fractions(0, 2, max_denominator=997), max_size=20),
)
def test_the_frame_shown_is_the_last_at_or_before_its_time(gaps: list[int], targets: list[Fraction]) -> None:
    times = [0, *np.cumsum(gaps).tolist()]
    base = F(1, 12_800)
    found = frame_indices(table(times, base, (times[-1] + 1) * base), targets)
    assert found == [max(i for i, tick in enumerate(times) if tick * base <= t) for t in targets]


def test_a_frame_is_shown_from_its_very_tick_on() -> None:
    frames = table([0, 1001, 2002], F(1, 30_000), F(3003, 30_000))
    at = F(2002, 30_000)
    assert frame_indices(frames, [at - F(1, 10**12), at, F(99)]) == [1, 2, 2]


@pytest.mark.parametrize(("length", "tau", "fits"), [(4096, 6, 40), (16_384, 6, 178), (36_864, 7, 403)])
def test_frames_that_fit(length: int, tau: int, fits: int) -> None:
    assert frames_that_fit(length, 10_000, tau, 83) == fits
    assert frames_that_fit(length, 16, tau, 83) == 16


def test_time_text() -> None:
    assert [time_text(k, t) for k, t in enumerate([F(0), F(64, 127), F(13013, 1000)])] == ["0.0 ", " 0.5 ", " 13.0 "]
    assert (time_tokens(F(9)), time_tokens(F(63)), time_tokens(F(100))) == (5, 6, 7)


def test_reduced_frames_are_spread_over_the_whole_clip() -> None:
    budget = {"max_tokens": 4096, "inputs_budget": 128, "frame_tokens": 83}
    times = plan_frames(video(63.5, 1905), VideoParameters(), **budget)
    assert len(times) == 40
    assert times[-1] == F(127, 2)
    assert frame_limit(F(127, 2), VideoParameters(), **budget) == 40
    with pytest.raises(ConfigError, match="40 fit a pack of 4096"):
        plan_frames(video(63.5, 1905), VideoParameters(fit="error"), **budget)
    with pytest.raises(ConfigError, match="0 fit"):
        plan_frames(video(63.5, 1905), VideoParameters(), max_tokens=512, inputs_budget=128, frame_tokens=83)


def test_a_clip_restarts_at_zero_and_ends_with_the_video() -> None:
    times = plan_frames(video(10.0, 300), VideoParameters(), clip=(8.5, 20.0), **ROOMY)
    assert times == [F(0), F(1, 2), F(1), F(3, 2)]
    assert clip_bounds(video(10.0, 300), (8.5, 20.0)) == (F(17, 2), F(10))
    with pytest.raises(DataError, match=r"clip \[11.0, 12.0\]"):
        plan_frames(video(10.0, 300), VideoParameters(), clip=(11.0, 12.0), **ROOMY)


def test_tracking_rows_are_trimmed_at_their_rate() -> None:
    times = plan_frames(video(100.0, 3000), VideoParameters(max_frames=8), trim=True, **ROOMY)
    assert times == [F(k, 2) for k in range(8)]
    assert plan_frames(video(2.0, 60), VideoParameters(max_frames=8), trim=True, **ROOMY)[-1] == 2


@given(st.integers(1, 3 * 10**6), st.sampled_from([1000, 12_800, 30_000, 90_000, 10**6]))
def test_a_duration_survives_its_float(span: int, per_second: int) -> None:
    duration = F(span, per_second)
    assert exact(float(duration)) == duration


@needs_clips
@pytest.mark.parametrize(
    ("name", "limit", "indices", "printed"),
    [
        ("h265_video.mp4", 128, [0, 5, 9], ["0.0", "0.5", "1.0"]),
        ("av1_video.mkv", 128, [0, 12, 25, 37, 50, 62, 75, 87, 100, 112, 124], [f"{k / 2:.1f}" for k in range(11)]),
        ("nasa_13013.mp4", 8, [0, 55, 111, 167, 222, 278, 334, 389], None),
    ],
)
def test_real_clips(name: str, limit: int, indices: list[int], printed: list[str] | None) -> None:
    data = (CLIPS / name).read_bytes()
    times = plan_frames(probe_video(data, name), VideoParameters(max_frames=limit), **ROOMY)
    assert frame_indices(frame_table(data, name), times) == indices
    if printed:
        assert [time_text(k, t).strip() for k, t in enumerate(times)] == printed


@needs_clips
def test_the_real_clip_whose_last_two_targets_show_one_frame() -> None:
    data = (CLIPS / "nasa_13013.mp4").read_bytes()
    media = probe_video(data, "nasa_13013.mp4")
    times = plan_frames(media, VideoParameters(), **ROOMY)
    found = frame_indices(frame_table(data, "nasa_13013.mp4"), times)
    assert (media.frames, media.duration, round(media.fps, 2)) == (390, 13.013, 29.97)
    assert len(times) == 28
    assert (found[:7], found[-3:]) == ([0, 14, 29, 44, 59, 74, 89], [374, 389, 389])
    assert [f"{float(t):.1f}" for t in times[-3:]] == ["12.5", "13.0", "13.0"]
