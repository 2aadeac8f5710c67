from fractions import Fraction

import numpy as np
import pytest
import torch
from torch.nn import functional
from transformers.models.molmo2.video_processing_molmo2 import Molmo2VideoProcessor

from tests.feed.test_video_frames import encode, every_frame
from trackyard.feed.geometry import VisionGeometry
from trackyard.feed.videos import prepare_video


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
    assert found.patches.dtype == np.uint8
    normalised = (found.patches.astype(np.float32) - np.float32(127.5)) / np.float32(127.5)
    assert (normalised != patches).mean() < 1e-2  # a gradient has many exact halves, see resize.py
    assert np.abs(normalised - patches).max() < 2.01 / 255


def test_a_clip_starts_at_its_start() -> None:
    data, geometry = encode(90), VisionGeometry(crop_size=56, margin=(1, 1))
    clip = prepare_video(data, "v", [Fraction(0), Fraction(1, 2)], geometry, start=Fraction(1))
    whole = prepare_video(data, "v", [Fraction(1), Fraction(3, 2)], geometry)
    assert np.array_equal(clip.patches, whole.patches)
    assert whole.pooling.shape == (2 * 4, 9)
