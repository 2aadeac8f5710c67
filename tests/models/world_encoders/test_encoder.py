"""The encoder against the stock classes, its range, and that another class needs nothing else to change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.tiny_vaes import edit_config, facts, random_vae
from trackyard.models.world_encoders import folder as folders
from trackyard.models.world_encoders.encoder import InputRangeError, RangeWatch, WorldEncoder
from trackyard.models.world_encoders.wan import WanPlugin

CLASSES = ("AutoencoderKLWan", "AutoencoderKLCosmos")


@pytest.fixture(scope="module", params=CLASSES)
def stock(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    folder = tmp_path_factory.mktemp(request.param)
    return folder, random_vae(folder, request.param)


def _pixels(count: int, size: int = 32) -> np.ndarray:
    pixels = np.random.default_rng(0).integers(0, 256, (count, size, size, 3), dtype=np.uint8)
    pixels[:, 0, 0], pixels[:, 0, 1] = 0, 255
    return pixels


def test_latents_are_those_of_the_stock_class(stock: tuple[Path, Any]) -> None:
    folder, model = stock
    pixels = _pixels(3)
    x = 2 * torch.from_numpy(pixels).permute(0, 3, 1, 2)[:, :, None].float() / 255 - 1
    mean, std = (
        torch.tensor(model.config[name]).view(16, -1)[:, 0][:, None, None] for name in ("latents_mean", "latents_std")
    )
    with torch.no_grad():
        z = model.encode(x).latent_dist.mode()
        again = model.decode(z).sample[:, :, 0].clamp(-1, 1)
    encoder = WorldEncoder.open(folder, facts(folder))
    found = encoder.encode(pixels)
    assert found.dtype == np.float32
    assert found.shape == (3, *encoder.facts.shape) == (3, 16, 4, 4)
    np.testing.assert_allclose(found, ((z[:, :, 0] - mean) / std).numpy(), atol=2e-5)
    bytes_again = ((again + 1) * 127.5).permute(0, 2, 3, 1).numpy()
    assert np.abs(encoder.decoder().decode(found) - bytes_again).max() <= 0.51


def test_latents_do_not_depend_on_the_batch_and_are_not_drawn(stock: tuple[Path, Any]) -> None:
    folder, _ = stock
    encoder, pixels = WorldEncoder.open(folder, facts(folder)), _pixels(4)
    together = encoder.encode(pixels)
    np.testing.assert_array_equal(together, encoder.encode(pixels))
    np.testing.assert_allclose(together, np.concatenate([encoder.encode(one[None]) for one in pixels]), atol=1e-5)


def test_inputs_in_other_ranges_are_refused(stock: tuple[Path, Any]) -> None:
    folder, _ = stock
    encoder, pixels = WorldEncoder.open(folder, facts(folder)), _pixels(64)
    bytes_as_they_are = torch.from_numpy(pixels[:1]).permute(0, 3, 1, 2).float()
    with pytest.raises(InputRangeError, match=r"reach from 0 to 255, expected \[-1, 1\]"):
        encoder.encode_values(bytes_as_they_are)
    from_0_to_1 = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    encoder.encode_values(from_0_to_1[:63])
    with pytest.raises(InputRangeError, match="of 64 images reach from 0 to 1"):
        encoder.encode_values(from_0_to_1[63:])
    for wrong in (pixels.astype(np.float32), pixels[:, :16], pixels[0]):
        with pytest.raises(ValueError, match="expected uint8"):
            encoder.encode(wrong)


@pytest.mark.parametrize("values", [(-1.001, 1.0), (-1.0, 1.001), (float("nan"), 1.0)])
def test_values_outside_and_no_numbers_are_refused(values: tuple[float, float]) -> None:
    with pytest.raises(InputRangeError):
        RangeWatch(-1, 1).see(torch.tensor([values]))


def test_the_first_64_images_are_judged_together() -> None:
    watch = RangeWatch(-1, 1)
    watch.see(torch.full((63, 1), -0.6))
    watch.see(torch.full((1, 1), 0.6))
    watch.see(torch.zeros(64, 1))  # what comes later may be grey
    with pytest.raises(InputRangeError, match="of 64 images"):
        RangeWatch(-1, 1).see(torch.full((64, 1), -0.6))


def test_a_plugin_of_another_class_needs_no_other_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Upside(WanPlugin):
        """The same weights for pictures in [0, 2], latents of opposite sign."""

        class_name = "AutoencoderUpside"
        value_range = (0.0, 2.0)

        def vae_class(self) -> Any:
            return WanPlugin(self.config | {"_class_name": "AutoencoderKLWan"}).vae_class()

        def made(self) -> Any:
            return WanPlugin(self.config | {"_class_name": "AutoencoderKLWan"}).made()

        def encoded(self, model: Any, x: torch.Tensor) -> torch.Tensor:
            return -super().encoded(model, x - 1)

        def decoded(self, model: Any, z: torch.Tensor) -> torch.Tensor:
            return super().decoded(model, -z) + 1

    random_vae(tmp_path, "AutoencoderKLWan")
    edit_config(tmp_path, latents_mean=[0.0] * 16)
    pixels = _pixels(2)
    plain = WorldEncoder.open(tmp_path, facts(tmp_path))
    latents = plain.encode(pixels)
    edit_config(tmp_path, _class_name=Upside.class_name)
    monkeypatch.setitem(folders.PLUGINS, Upside.class_name, Upside)
    other = WorldEncoder.open(tmp_path, facts(tmp_path))
    np.testing.assert_allclose(other.encode(pixels), -latents, atol=1e-5)
    assert other.facts.preprocessing.endswith("in [0, 2]")
    apart = other.decoder().decode(-latents).astype(int) - plain.decoder().decode(latents)
    assert np.abs(apart).max() <= 1
