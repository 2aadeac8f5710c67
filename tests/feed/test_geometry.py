import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from transformers.models.molmo2.image_processing_molmo2 import arange_for_pooling, compute_crop_geometry

from trackyard.feed.geometry import VisionGeometry, pooling_windows, tile, widen_windows

REAL = VisionGeometry()

# molmo2 spec section 5: h, w, K, tiling, canvas, grid, inputs, pooled, tokens
TABLE = [
    (378, 378, 8, (1, 1), (378, 378), (14, 14), 2, 392, 410),
    (480, 640, 8, (2, 2), (644, 644), (23, 23), 5, 725, 752),
    (768, 1024, 8, (2, 3), (644, 910), (23, 33), 7, 955, 982),
    (1080, 1920, 8, (2, 4), (644, 1176), (23, 42), 9, 1162, 1189),
    (1920, 1080, 8, (4, 2), (1176, 644), (42, 23), 9, 1162, 1208),
    (1080, 1920, 12, (3, 4), (910, 1176), (33, 42), 13, 1582, 1619),
    (1080, 1920, 24, (4, 6), (1176, 1708), (42, 61), 25, 2758, 2804),
    (2000, 500, 8, (5, 1), (1442, 378), (52, 14), 6, 924, 980),
]


@pytest.mark.parametrize("row", TABLE)
def test_the_table_of_the_spec(row: tuple) -> None:
    height, width, crops, tiling, canvas, grid, inputs, pooled, tokens = row
    found = tile(height, width, REAL, crops)
    assert (found.rows, found.cols) == tiling
    assert (found.canvas_height, found.canvas_width) == canvas
    assert (found.grid_rows, found.grid_cols) == grid
    assert (found.inputs, found.pooled, found.tokens) == (inputs, pooled, tokens)


def test_upper_bounds_of_tokens() -> None:
    shapes = [(8000, 400), (400, 8000), (3000, 3000), (378, 378), (1, 1), (5000, 300)]
    assert max(tile(h, w, REAL, 8).tokens for h, w in shapes) == 1400
    assert tile(20000, 400, REAL, 24).tokens == 3680


sides = st.one_of(st.integers(1, 200), st.integers(1, 6000))


@given(sides, sides, st.sampled_from([1, 2, 5, 8, 12, 24]))
def test_the_tiling_equals_the_stock_one(height: int, width: int, crops: int) -> None:
    found = tile(height, width, REAL, crops)
    stock = compute_crop_geometry(height, width, crops, [4, 4], 378, 14)
    assert (found.rows, found.cols, found.canvas_height, found.canvas_width) == stock


SMALL = VisionGeometry(crop_size=56, patch_size=14, margin=(1, 0), max_crops=4)


@given(st.integers(1, 400), st.integers(1, 400))
def test_the_tiling_equals_the_stock_one_at_a_small_uneven_geometry(height: int, width: int) -> None:
    found = tile(height, width, SMALL, 4)
    stock = compute_crop_geometry(height, width, 4, [1, 0], 56, 14)
    assert (found.rows, found.cols, found.canvas_height, found.canvas_width) == stock


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 4))
def test_pooling_windows_equal_the_stock_ones(rows: int, cols: int, side: int) -> None:
    grid = np.arange(rows * cols, dtype=np.int64).reshape(rows, cols)
    stock, _, _ = arange_for_pooling(torch.from_numpy(grid), side, side)
    assert np.array_equal(pooling_windows(grid, side), stock.numpy())


def test_an_odd_edge_gets_its_empty_patch_after_the_last_one() -> None:
    assert pooling_windows(np.arange(3, dtype=np.int64).reshape(1, 3), 2).tolist() == [[0, 1, -1, -1], [2, -1, -1, -1]]


def test_frames_cost_83_tokens_and_windows_widen_to_nine() -> None:
    assert (REAL.frame_side, REAL.frame_features, REAL.frame_tokens) == (9, 81, 83)
    assert (128 * REAL.frame_tokens, 384 * REAL.frame_tokens) == (10_624, 31_872)
    assert (REAL.patches, REAL.patch_values, REAL.image_side) == (729, 588, 14)
    wide = widen_windows(np.arange(8, dtype=np.int64).reshape(2, 4), 9)
    assert wide.tolist() == [[0, 1, 2, 3, -1, -1, -1, -1, -1], [4, 5, 6, 7, -1, -1, -1, -1, -1]]


@pytest.mark.parametrize("values", [{"crop_size": 380}, {"margin": (14, 13)}, {"margin": (-1, 4)}, {"patch_size": 0}])
def test_inconsistent_sizes_are_refused(values: dict) -> None:
    with pytest.raises(ValidationError):
        VisionGeometry(**values)
