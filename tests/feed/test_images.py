import io

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional
from transformers.image_transforms import convert_to_rgb
from transformers.models.molmo2.image_processing_molmo2 import Molmo2ImageProcessor

from trackyard.acquire.media import UnreadableMedia, probe_image
from trackyard.feed.geometry import VisionGeometry, tile
from trackyard.feed.images import ImageInputs, load_image, prepare_image


class StockPipeline:
    """The stock processor itself, with stand-ins for the resize and normalisation that it takes from torchvision."""

    _build_overlapping_crops = Molmo2ImageProcessor._build_overlapping_crops
    batch = Molmo2ImageProcessor._image_batch_to_patches_and_grids

    def resize(self, image: torch.Tensor, *, size: object, resample: object, antialias: bool) -> torch.Tensor:
        shape = (size["height"], size["width"])  # type: ignore[index]
        return functional.interpolate(image, size=shape, mode="bilinear", align_corners=False, antialias=antialias)

    def rescale_and_normalize(self, image: torch.Tensor, *_: object) -> torch.Tensor:
        return (image.float() - 127.5) / 127.5

    def __call__(self, image: np.ndarray, geometry: VisionGeometry, max_crops: int) -> ImageInputs:
        grid, patches, pooling = self.batch(
            torch.from_numpy(image.copy()).permute(2, 0, 1)[None],
            max_crops,
            list(geometry.margin),
            geometry.crop_size,
            2,
            True,
            1 / 255,
            True,
            [0.5] * 3,
            [0.5] * 3,
            geometry.patch_size,
            geometry.image_pooling,
            geometry.image_pooling,
        )
        values = patches[0].numpy(), pooling[0].numpy(), tuple(grid[0].tolist())
        return ImageInputs(patches=values[0], pooling=values[1], grid=values[2])


def assert_same(found: ImageInputs, stock: ImageInputs) -> None:
    assert found.grid == stock.grid
    assert found.pooling.dtype == np.int64
    assert np.array_equal(found.pooling, stock.pooling)
    assert found.patches.shape == stock.patches.shape
    assert found.patches.dtype == np.uint8
    normalised = (found.patches.astype(np.float32) - np.float32(127.5)) / np.float32(127.5)
    # One level of 255 at most, and only where a value is a half (see resize.py); elsewhere bit for bit.
    differ = normalised != stock.patches
    assert differ.mean() < 1e-3
    assert np.abs(normalised - stock.patches).max() < 2.01 / 255


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height * 7919 + width).integers(0, 256, (height, width, 3), dtype=np.uint8)


REAL = VisionGeometry()
SMALL = VisionGeometry(crop_size=56, margin=(1, 1), max_crops=6)


@pytest.mark.parametrize(
    ("height", "width", "crops"),
    [(378, 378, 8), (480, 640, 8), (768, 1024, 8), (1920, 1080, 8), (2000, 500, 8), (30, 50, 8), (1, 1, 8)],
)
def test_tensors_equal_the_stock_ones(height: int, width: int, crops: int) -> None:
    image = noise(height, width)
    found = prepare_image(image, REAL, crops)
    assert_same(found, StockPipeline()(image, REAL, crops))
    tiling = tile(height, width, REAL, crops)
    assert found.patches.shape == (tiling.inputs, 729, 588)
    assert found.pooling.shape == (tiling.pooled, 4)


@pytest.mark.parametrize("geometry", [SMALL, VisionGeometry(crop_size=70, margin=(2, 0), image_pooling=3)])
@pytest.mark.parametrize(("height", "width"), [(56, 56), (90, 200), (300, 60), (150, 150)])
def test_tensors_equal_the_stock_ones_at_small_geometries(geometry: VisionGeometry, height: int, width: int) -> None:
    image = noise(height, width)
    assert_same(prepare_image(image, geometry, 6), StockPipeline()(image, geometry, 6))


def test_another_margin_would_not_pass() -> None:
    image, other = noise(300, 300), VisionGeometry(crop_size=56, margin=(2, 0))
    with pytest.raises(AssertionError):
        assert_same(prepare_image(image, SMALL, 6), StockPipeline()(image, other, 6))


def encode(image: Image.Image, fmt: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, fmt, **options)
    return stream.getvalue()


def picture(mode: str) -> Image.Image:
    return Image.fromarray(noise(6, 9)).convert(mode)


@pytest.mark.parametrize(
    ("mode", "fmt"), [("RGB", "PNG"), ("L", "PNG"), ("LA", "PNG"), ("P", "PNG"), ("1", "PNG"), ("CMYK", "JPEG")]
)
def test_every_mode_becomes_rgb_as_in_the_stock_processor(mode: str, fmt: str) -> None:
    data = encode(picture(mode), fmt)
    found = load_image(data, "picture")
    assert found.shape == (6, 9, 3)
    assert found.dtype == np.uint8
    assert np.array_equal(found, convert_to_rgb(Image.open(io.BytesIO(data)), return_numpy=True))


def test_transparency_goes_onto_white() -> None:
    clear = Image.new("RGBA", (2, 2), (10, 20, 30, 0))
    assert (load_image(encode(clear, "PNG"), "clear.png") == 255).all()
    palette = Image.new("P", (2, 2), 0)
    palette.putpalette([10, 20, 30] * 2)
    assert (load_image(encode(palette, "PNG", transparency=0), "palette.png") == 255).all()
    assert load_image(encode(palette, "PNG"), "palette.png")[0, 0].tolist() == [10, 20, 30]


def test_sixteen_bit_grey_keeps_its_picture() -> None:
    ramp = np.array([[0, 255, 256, 32768, 65535]], dtype=np.uint16)
    found = load_image(encode(Image.fromarray(ramp), "PNG"), "scan.png")
    assert found[0, :, 0].tolist() == [0, 0, 1, 128, 255]


def test_exif_orientation_is_applied_first() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    wide = np.zeros((4, 8, 3), dtype=np.uint8)
    wide[:, :4] = 255
    data = encode(Image.fromarray(wide), "PNG", exif=exif)
    found = load_image(data, "turned.png")
    media = probe_image(data, "turned.png")
    assert found.shape == (8, 4, 3) == (media.height, media.width, 3)
    assert found[0].min() == 255
    assert found[-1].max() == 0


def test_decoding_is_guarded_as_ingest_is() -> None:
    with pytest.raises(UnreadableMedia) as caught:
        load_image(encode(picture("RGB"), "PNG")[:60], "cut.png")
    assert caught.value.reason == "unreadable image"
