"""The encoder that the project makes: loaded as a published one is, and better than the bound of those."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.tiny_vaes import facts
from trackyard.errors import ConfigError
from trackyard.models.world_encoders.encoder import WorldEncoder
from trackyard.models.world_encoders.folder import CONFIG
from trackyard.recipes.datacomp.base.made_vae import make_vae
from trackyard.recipes.datacomp.latents.sanity import check_reconstruction, check_statistics, psnr
from trackyard.recipes.datacomp.scenes import draw, scene

FITTED = [draw(scene(0, number)) for number in range(32)]
OTHERS = np.stack([draw(scene(1, number)) for number in range(16)])


def test_scenes_it_was_not_fitted_to_come_back_well_above_the_bound(tmp_path: Path) -> None:
    made = make_vae(tmp_path, FITTED)
    encoder = WorldEncoder.open(tmp_path, facts(tmp_path, 128))
    assert encoder.facts.shape == (16, 16, 16)
    assert made["parameters"] < 1_200_000
    latents = encoder.encode(OTHERS)
    found = psnr(OTHERS, encoder.decoder().decode(latents))
    assert found.min() > 27
    assert made["psnr"] == pytest.approx(found.mean(), abs=1)
    assert 0.97 < made["explained"] < 1
    check_statistics(latents)
    check_reconstruction(encoder, encoder.decoder(), OTHERS[:3], least=25)


def test_the_network_is_the_linear_map_that_was_fitted(tmp_path: Path) -> None:
    make_vae(tmp_path, FITTED)
    encoder = WorldEncoder.open(tmp_path, facts(tmp_path, 128))
    one, other = encoder.values(OTHERS[:1]), encoder.values(OTHERS[1:2])
    middle = encoder.encode_values((one + other) / 2).numpy()
    means = (encoder.encode_values(one) + encoder.encode_values(other)).numpy() / 2
    assert np.abs(middle - means).max() < 0.01 < np.abs(means).max()
    # A shift by a patch moves the latents by a position: nothing looks beyond its patch.
    moved = encoder.encode(np.roll(OTHERS[:1], 8, axis=1))
    np.testing.assert_allclose(moved, np.roll(encoder.encode(OTHERS[:1]), 1, axis=2), atol=1e-4)


def test_the_same_pictures_make_the_same_files_and_others_do_not(tmp_path: Path) -> None:
    for name, pictures in (("a", FITTED[:8]), ("b", FITTED[:8]), ("c", FITTED[8:16])):
        make_vae(tmp_path / name, pictures)
    first, second, third = (facts(tmp_path / name, 128) for name in "abc")
    assert first == second
    assert first.weights != third.weights
    config = json.loads((tmp_path / "a" / CONFIG).read_text())
    assert config["_class_name"] == "AutoencoderKLWan"
    assert str(tmp_path) not in json.dumps(config)


@pytest.mark.parametrize("shapes", [[], [(20, 16)], [(16, 16)], [(64, 64), (64, 72)]])
def test_pictures_that_do_not_fit_are_refused(tmp_path: Path, shapes: list[tuple[int, int]]) -> None:
    with pytest.raises(ConfigError, match="whole patches"):
        make_vae(tmp_path, [np.zeros((*shape, 3), np.uint8) for shape in shapes])
