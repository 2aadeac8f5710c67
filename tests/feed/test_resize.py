import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from trackyard.feed.resize import _taps, patches_of, resize_bilinear


def torch_resize(image: np.ndarray, height: int, width: int, dtype: torch.dtype = torch.float32) -> np.ndarray:
    """The stock processor's resize before rounding, [height, width, 3]."""
    planes = torch.from_numpy(image.copy()).permute(2, 0, 1)[None].to(dtype)
    size = (height, width)
    out = functional.interpolate(planes, size=size, mode="bilinear", align_corners=False, antialias=False)
    return out[0].permute(1, 2, 0).numpy()


def assert_equal_but_for_halves(found: np.ndarray, values: np.ndarray) -> None:
    """Equal bytes, except where the unrounded value lies within float32 error of a half."""
    expected = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    differ = found != expected
    assert np.abs(found.astype(int) - expected)[differ].max(initial=0) <= 1
    assert np.abs(values[differ] % 1 - 0.5).max(initial=0) < 1e-3


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_equals_torch(data: st.DataObject) -> None:
    height, width, new_height, new_width = (data.draw(st.integers(1, 90)) for _ in range(4))
    random = np.random.default_rng(data.draw(st.integers(0, 2**16)))
    image = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
    assert_equal_but_for_halves(
        resize_bilinear(image, new_height, new_width), torch_resize(image, new_height, new_width)
    )


@pytest.mark.parametrize(
    ("size", "target"), [((1080, 1920), (378, 378)), ((480, 640), (644, 644)), ((57, 33), (1176, 910))]
)
def test_equals_torch_at_real_sizes(size: tuple[int, int], target: tuple[int, int]) -> None:
    image = np.random.default_rng(1).integers(0, 256, (*size, 3), dtype=np.uint8)
    found, values = resize_bilinear(image, *target), torch_resize(image, *target)
    assert_equal_but_for_halves(found, values)
    assert (found != np.rint(values)).mean() < 1e-4


def test_an_antialiased_result_would_not_pass() -> None:
    image = np.random.default_rng(2).integers(0, 256, (300, 300, 3), dtype=np.uint8)
    planes = torch.from_numpy(image).permute(2, 0, 1)[None].float()
    smooth = functional.interpolate(planes, size=(50, 50), mode="bilinear", antialias=True)[0].permute(1, 2, 0).numpy()
    with pytest.raises(AssertionError):
        assert_equal_but_for_halves(resize_bilinear(image, 50, 50), smooth)


def test_the_same_size_keeps_every_byte() -> None:
    image = np.random.default_rng(3).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    assert resize_bilinear(image, 20, 30).tobytes() == image.tobytes()


def test_patches_are_row_major_and_channel_last() -> None:
    crop = np.arange(4 * 4 * 3, dtype=np.uint8).reshape(1, 4, 4, 3)
    found = patches_of(crop, 2)
    assert found.shape == (1, 4, 12)
    assert found.dtype == np.uint8
    assert np.array_equal(found[0, 1], crop[0, :2, 2:].ravel())


def plain_resize(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """The same float32 arithmetic on whole arrays: rows first across, then down."""
    (top, bottom, down), (left, right, across) = _taps(image.shape[0], height), _taps(image.shape[1], width)
    one, across, down = np.float32(1), across[None, :, None], down[:, None, None]
    mixed = image[:, left] * (one - across) + image[:, right] * across
    return np.rint(mixed[top] * (one - down) + mixed[bottom] * down).astype(np.uint8)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_blocks_change_no_bit(data: st.DataObject) -> None:
    height, width, new_height, new_width = (data.draw(st.integers(1, 300)) for _ in range(4))
    random = np.random.default_rng(data.draw(st.integers(0, 2**16)))
    image = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
    if (height, width) != (new_height, new_width):
        assert np.array_equal(resize_bilinear(image, new_height, new_width), plain_resize(image, new_height, new_width))


def test_black_and_white_stay_within_bytes() -> None:
    for value in (0, 255):
        image = np.full((337, 211, 3), value, dtype=np.uint8)
        assert (resize_bilinear(image, 378, 644) == value).all()


def test_turned_and_cropped_arrays_are_read_as_they_look() -> None:
    image = np.random.default_rng(4).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    for view in (np.rot90(image), image[5:40, 3:60], image[::-1]):
        assert np.array_equal(resize_bilinear(view, 31, 20), resize_bilinear(view.copy(), 31, 20))
