"""Pictures are divided by whole images and single frames, each once and in order (molmo2 spec section 12)."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tiny_molmo2 import batch, sample
from trackyard.errors import DataError
from trackyard.models.visual_shares import VisualShare, visual_shares

PATCHES, WIDTH = 4, 9


def media(counts: list[tuple[int, bool]]) -> tuple[np.ndarray, np.ndarray, int]:
    """(grids, pooling, inputs) of media of (inputs, is a video); windows of an image reach over all its crops."""
    grids, rows, start = [], [], 0
    for inputs, video in counts:
        first = start * PATCHES
        if video:
            grids.append([inputs * 2, 1, 0, 0])
            rows += [[first + PATCHES * number + half for half in (0, 1)] for number in range(inputs) for _ in (0, 1)]
        else:
            grids.append([1, 1, 3, 1])
            rows += [[first, first + 1], *([[first, first + inputs * PATCHES - 1]] * 3)]
        start += inputs
    pooling = np.full((len(rows), WIDTH), -1)
    pooling[:, :2] = rows
    return np.array(grids), pooling, start


def inputs_of(counts: list[tuple[int, bool]], degree: int) -> list[int]:
    """How many visual inputs each rank encodes."""
    return [share.inputs.stop - share.inputs.start for share in visual_shares(*media(counts), PATCHES, degree)]


def test_the_examples_of_the_spec() -> None:
    assert inputs_of([(128, True)], 8) == [16] * 8
    assert inputs_of([(9, False), (1, False), (1, False), (5, False)], 2) == [9, 7]
    assert inputs_of([(1, False), (1, False), (6, False)], 2) == [2, 6]
    assert inputs_of([(2, False)] * 3, 4) == [2, 2, 2, 0]


@given(st.lists(st.tuples(st.integers(1, 7), st.booleans()), min_size=1, max_size=6), st.integers(1, 5))
def test_no_window_reaches_into_the_share_of_another_rank(counts: list[tuple[int, bool]], degree: int) -> None:
    grids, pooling, inputs = media(counts)
    shares = visual_shares(grids, pooling, inputs, PATCHES, degree)
    assert len(shares) == degree
    for name, total in (("inputs", inputs), ("windows", len(pooling))):
        parts = [getattr(share, name) for share in shares]
        assert [part.start for part in parts] == [0, *(part.stop for part in parts[:-1])]
        assert parts[-1].stop == total
    for share in shares:
        reached = pooling[share.windows]
        reached = reached[reached >= 0] // PATCHES
        assert ((reached >= share.inputs.start) & (reached < share.inputs.stop)).all()
        assert (share.inputs.start == share.inputs.stop) == (share.windows.start == share.windows.stop)


def test_real_rows_are_divided() -> None:
    """An image of several crops stays whole, and the frames of a video are shared out."""
    visual = batch([[sample("vqa-v2", 0), sample("molmo2-cap", 0)]]).visual
    inputs, patches = visual.patches.shape[:2]
    shares = visual_shares(visual.grids, visual.pooling, inputs, patches, 2)
    image = sample("vqa-v2", 0).inputs
    assert inputs > image
    assert shares[0].inputs.stop >= image or shares[0].inputs.stop == 0
    assert shares[1].inputs == slice(shares[0].inputs.stop, inputs)


def test_without_pictures_every_share_is_empty() -> None:
    shares = visual_shares(np.zeros((0, 4), dtype=np.int64), np.zeros((0, WIDTH), dtype=np.int64), 0, PATCHES, 2)
    assert shares == [VisualShare(inputs=slice(0, 0), windows=slice(0, 0))] * 2


@pytest.mark.parametrize("broken", ["grid", "order", "inputs"])
def test_grids_and_windows_of_different_pictures_are_refused(broken: str) -> None:
    grids, pooling, inputs = media([(2, False), (3, True)])
    if broken == "grid":
        grids[0, 0] += 1
    elif broken == "order":
        pooling = pooling[::-1].copy()
    else:
        inputs = 2
    with pytest.raises(DataError, match=r"2 media of .* pooled features for 10 windows"):
        visual_shares(grids, pooling, inputs, PATCHES, 2)
