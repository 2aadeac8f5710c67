"""Clips: bytes that depend on the frames alone, and paths that are where they say."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from trackyard.acquire.mini.clips import FPS, Clip, Mover, film
from trackyard.acquire.mini.draft import random_of
from trackyard.acquire.mini.scene import Look

RED = Look("red", "circle")


def mover(*stops: tuple[int, int], born: float = 0.0) -> Mover:
    return Mover(RED, 16, tuple(born + k for k in range(len(stops))), stops)


def test_the_same_clip_gives_the_same_bytes_without_a_date_or_an_encoder_name() -> None:
    clip = Clip((mover((12, 32), (52, 32)),), 2.0)
    first, second = film(random_of(1), clip), film(random_of(1), clip)
    assert first == second
    assert b"x264" not in first.data
    assert b"Lavf" not in first.data
    # mvhd version 0: creation and modification times are the two words after version and flags.
    header = first.data.index(b"mvhd") + 8
    assert first.data[header : header + 8] == bytes(8)
    assert (first.frames, first.fps, first.duration) == (2 * FPS, 8.0, 2.0)


def test_a_mover_goes_straight_between_stops_and_stays_after_the_last() -> None:
    path = mover((12, 32), (52, 32), born=0.5)
    assert path.at(0.4) is None
    assert [(i.x, i.y) for t in (0.5, 1.0, 1.5, 3.0) if (i := path.at(t))] == [(12, 32), (32, 32), (52, 32), (52, 32)]


def test_clear_sees_meetings_and_edges() -> None:
    assert Clip((mover((12, 12)), mover((12, 52), (52, 52))), 2.0).clear()
    assert not Clip((mover((12, 12)), mover((12, 52), (12, 12))), 2.0).clear()
    assert not Clip((mover((12, 12), (4, 12)),), 2.0).clear()


@given(x=st.integers(9, 55))
def test_hidden_means_wholly_behind_the_post(x: int) -> None:
    clip = Clip((), 2.0, post=(21, 0, 43, 64))
    item = mover((x, 32)).at(0.0)
    assert item is not None
    assert clip.hidden(item) == (29 <= x <= 35)
