"""Pictures are the model's own pixels, and the picture of a mask is the mask."""

from __future__ import annotations

import base64
import io

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from tests.tiny_molmo2 import GEOMETRY
from trackyard.feed.geometry import VisionGeometry, tile
from trackyard.feed.images import prepare_image
from trackyard.feed.resize import patches_of, resize_bilinear
from trackyard.feed.tree import allowed
from trackyard.feed.view_drawing import (
    IMAGE_PIXELS,
    MASK_CELLS,
    canvas_of,
    crop_frames,
    crops_of,
    mask_cells,
    mask_uri,
    picture_uri,
)


def noise(*shape: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def opened(uri: str) -> Image.Image:
    head, body = uri.split(",", 1)
    assert head in ("data:image/png;base64", "data:image/jpeg;base64")
    return Image.open(io.BytesIO(base64.b64decode(body)))


def test_patches_are_put_together_again() -> None:
    crops = noise(3, 32, 32, 3)
    assert (crops_of(patches_of(crops, GEOMETRY.patch_size), GEOMETRY) == crops).all()


@settings(max_examples=20)
@given(st.integers(1, 120), st.integers(1, 120))
def test_the_canvas_is_the_stretched_image(height: int, width: int) -> None:
    image = noise(height, width, 3)
    tiling = tile(height, width, GEOMETRY, 4)
    canvas = canvas_of(prepare_image(image, GEOMETRY, 4).patches, tiling, GEOMETRY)
    assert (canvas == resize_bilinear(image, tiling.canvas_height, tiling.canvas_width)).all()
    crops = crop_frames(tiling, GEOMETRY)
    assert len(crops) == tiling.rows * tiling.cols
    assert (crops[0].left, crops[0].top) == (0.0, 0.0)
    assert abs(crops[-1].left + crops[-1].width - 1) < 1e-12
    assert abs(crops[-1].top + crops[-1].height - 1) < 1e-12


def test_small_pictures_keep_every_pixel_and_large_ones_their_shape() -> None:
    small = noise(40, 64, 3)
    assert (np.asarray(opened(picture_uri(small, IMAGE_PIXELS))) == small).all()
    large = opened(picture_uri(noise(644, 1176, 3), IMAGE_PIXELS))
    assert large.size == (IMAGE_PIXELS, round(IMAGE_PIXELS * 644 / 1176))


@st.composite
def packs(draw: st.DrawFn) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Segments, examples and visual flags of a pack of up to 700 tokens: rows, branches, visual spans, padding."""
    segments: list[int] = []
    examples: list[int] = []
    visual: list[bool] = []
    for example in range(draw(st.integers(1, 3))):
        for segment in draw(st.sampled_from([(0,), (10_000, 0, 1)])):
            length = draw(st.integers(1, 75))
            segments += [100_000 * example + segment] * length
            examples += [example] * length
            seen = segment == 10_000 and draw(st.booleans())
            visual += [seen and k > 0 for k in range(length)]
    padding = draw(st.integers(0, 40))
    return (
        np.array(segments + [-1] * padding), np.array(examples + [-1] * padding),
        np.array(visual + [False] * padding),
    )  # fmt: skip


@settings(max_examples=30)
@given(packs())
def test_a_cell_is_set_where_one_of_its_pairs_is(pack: tuple[NDArray[np.int64], ...]) -> None:
    segments, examples, visual = pack
    mask, length = allowed(*pack), len(segments)
    side = -(-length // MASK_CELLS)
    starts = np.arange(0, length, side)
    expected = np.logical_or.reduceat(np.logical_or.reduceat(mask, starts, axis=0), starts, axis=1)
    assert (mask_cells(segments, examples, visual) == expected).all()
    assert opened(mask_uri(segments, examples, visual)).size == expected.shape


def test_a_long_mask_is_drawn_small() -> None:
    length = 36_864
    flags = np.arange(length) % 100 < 90
    picture = opened(mask_uri(np.zeros(length, dtype=np.int64), np.zeros(length, dtype=np.int64), flags))
    assert picture.size == (MASK_CELLS, MASK_CELLS)
    opacity = np.asarray(picture)[..., 3]
    assert (opacity[np.triu_indices(MASK_CELLS, 1)] == 255).all()
    plain = opened(mask_uri(np.zeros(length, dtype=np.int64), np.zeros(length, dtype=np.int64), np.zeros(length, bool)))
    assert not np.asarray(plain)[..., 3][np.triu_indices(MASK_CELLS, 1)].any()


def test_the_real_geometry() -> None:
    geometry = VisionGeometry()
    tiling = tile(1080, 1920, geometry, 8)
    first, second, *_ = crop_frames(tiling, geometry)
    assert second.left * tiling.canvas_width == 266
    assert first.width * tiling.canvas_width == 378
