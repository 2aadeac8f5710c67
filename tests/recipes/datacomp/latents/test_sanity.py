"""What is wrong with an encoder, or with its inputs, is noticed, and by which check."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.recipes.datacomp.latents.made import SCENES, made_encoder, made_folder
from tests.tiny_vaes import edit_config, facts
from trackyard.models.world_encoders.encoder import InputRangeError, WorldEncoder
from trackyard.models.world_encoders.folder import plugin_of
from trackyard.recipes.datacomp.latents.sanity import (
    LatentStatisticsError,
    RecheckError,
    ReconstructionError,
    check_again,
    check_reconstruction,
    check_statistics,
    psnr,
)


class Unwatched(WorldEncoder):
    """An encoder without the assertion on ranges, which gets what `wrong` makes of bytes."""

    def __init__(self, wrong: Any) -> None:
        folder = made_folder()
        super().__init__(folder, facts(folder, 128), plugin_of(folder), torch.device("cpu"))
        self.watch.see = lambda x: None  # type: ignore[method-assign]
        self.wrong = wrong

    def values(self, pixels: np.ndarray) -> torch.Tensor:
        return self.wrong(torch.from_numpy(pixels).permute(0, 3, 1, 2).float())


def test_a_sound_encoder_passes_all_checks() -> None:
    encoder = made_encoder()
    latents = encoder.encode(SCENES)
    assert check_reconstruction(encoder, encoder.decoder(), SCENES[:3], least=25) > 27
    assert len(check_statistics(latents).mean) == len(check_statistics(latents).std) == 16
    assert check_again(latents.astype(np.float16), encoder.encode(SCENES)) <= 4e-3


@pytest.mark.parametrize(
    "wrong", [lambda u: u, lambda u: u / 255, lambda u: u / 127.5 - 1.5, lambda u: (2 * u / 255 - 1).flip(1)]
)
def test_wrong_ranges_and_channel_orders_do_not_come_back(wrong: Any) -> None:
    """Bytes as they are, [0, 1], shifted, blue before red; behind the assertion on ranges, which sees the first two."""
    encoder = Unwatched(wrong)
    with pytest.raises(ReconstructionError, match="25 dB are the least"):
        check_reconstruction(encoder, encoder.decoder(), SCENES[:3], least=25)


def test_bytes_as_they_are_do_not_reach_the_encoder() -> None:
    with pytest.raises(InputRangeError):
        made_encoder().encode_values(torch.full((1, 3, 128, 128), 255.0))


def test_latents_that_are_not_normalised_are_noticed(tmp_path: Path) -> None:
    encoder = made_encoder()
    latents = encoder.encode(SCENES)
    mean, std = (np.array(numbers)[:, None, None] for numbers in (encoder.plugin.mean, encoder.plugin.std))
    with pytest.raises(LatentStatisticsError, match="channels over 24 images: channel 0: mean"):
        check_statistics(latents * std + mean)
    # Statistics of another encoder: pictures come back all the same, so only this check sees it.
    folder = Path(shutil.copytree(made_folder(), tmp_path / "vae"))
    edit_config(folder, latents_mean=[-0.7571] * 16, latents_std=[2.8184] * 16)
    other = WorldEncoder.open(folder, facts(folder, 128))
    check_reconstruction(other, other.decoder(), SCENES[:3], least=25)
    with pytest.raises(LatentStatisticsError):
        check_statistics(other.encode(SCENES))


@pytest.mark.parametrize(
    ("scale", "shift", "passes"), [(1, 0, True), (3.2, 0, False), (0.18, 0, False), (1, 2.1, False)]
)
def test_bounds_of_statistics(scale: float, shift: float, passes: bool) -> None:
    drawn = np.random.default_rng(0).normal(size=(256, 2, 8, 8)).astype(np.float32) * scale + shift
    if passes:
        assert check_statistics(drawn).std == pytest.approx((1, 1), abs=0.02)
    else:
        with pytest.raises(LatentStatisticsError, match="2 of 2 channels"):
            check_statistics(drawn)


def test_a_draw_instead_of_the_mode_is_noticed() -> None:
    encoder = Unwatched(lambda u: 2 * u / 255 - 1)
    stored = encoder.encode(SCENES[:8]).astype(np.float16)
    plugin = encoder.plugin
    plugin.encoded = lambda model, x: model.encode(x).latent_dist.sample()  # type: ignore[method-assign]
    with pytest.raises(RecheckError, match="the encoder draws"):
        check_again(stored, encoder.encode(SCENES[:8]))


@pytest.mark.parametrize(("value", "apart", "passes"), [(1.0, 0.0039, True), (1.0, 0.0041, False), (12.0, 0.0045, True),
                                                        (12.0, 0.006, False), (1.0, float("nan"), False)])  # fmt: skip
def test_bounds_of_the_recheck(value: float, apart: float, passes: bool) -> None:
    stored = np.full((8, 2, 2, 2), value, dtype=np.float16)
    again = stored.astype(np.float32)
    again[3, 1, 0, 1] += apart
    if passes:
        assert check_again(stored, again) == pytest.approx(apart, rel=1e-2)
    else:
        with pytest.raises(RecheckError):
            check_again(stored, again)


def test_psnr_of_known_errors() -> None:
    black = np.zeros((2, 4, 4, 3), np.uint8)
    assert psnr(black, black) == pytest.approx([100, 100])
    assert psnr(black, black + np.array([255, 1], np.uint8)[:, None, None, None]) == pytest.approx([0, 48.13], abs=0.01)
