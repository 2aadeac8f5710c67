"""Pixels and pictures: equal to the stock processor and the stock classes, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.tiny_molmo2 import batch, model, sample
from trackyard.errors import ConfigError
from trackyard.feed.batch import Batch
from trackyard.models.pixels import embed, normalise_patches, visual_features

LEVELS = (np.arange(256, dtype=np.float32) - np.float32(127.5)) / np.float32(127.5)


def pictures() -> Batch:
    """Crops, low-resolution images and frames in one batch: windows of four and of nine patches."""
    return batch([[sample("pixmo-cap", 0), sample("molmo2-cap", 0)], [sample("tallyqa", 0)]])


def test_every_pixel_value_is_the_stock_processors() -> None:
    values = np.arange(256, dtype=np.uint8)
    found = normalise_patches(torch.from_numpy(values))
    assert found.dtype == torch.float32
    assert np.array_equal(found.numpy(), LEVELS)
    assert found[[0, 255]].tolist() == [-1, 1]
    # The processor scales mean and deviation by 255 and works in float32.
    mean = torch.tensor(0.5) * 255
    assert torch.equal(found, (torch.from_numpy(values).float() - mean) / mean)


@pytest.mark.parametrize("dtype", [torch.float32, torch.int64])
def test_values_that_are_no_pixels_are_refused(dtype: torch.dtype) -> None:
    with pytest.raises(TypeError, match=f"patches are {dtype}, uint8 is wanted"):
        normalise_patches(torch.zeros(3, dtype=dtype))


def test_features_and_their_places_are_the_stock_ones() -> None:
    net, of = model().eval(), pictures()
    ids, pooling = torch.as_tensor(of.input_ids), torch.as_tensor(of.visual.pooling)
    patches = torch.as_tensor(of.visual.patches)
    with torch.inference_mode():
        stock = net.get_image_features(normalise_patches(patches), pooling, torch.as_tensor(of.visual.grids))
        wanted = torch.cat(stock.pooler_output)
        found = visual_features(net, patches, pooling)
        assert torch.equal(found, wanted)
        places = torch.from_numpy(np.flatnonzero(of.input_ids == net.config.image_token_id))
        embeddings = net.get_input_embeddings()(ids)
        at = (ids == net.config.image_token_id)[..., None].expand_as(embeddings)
        added = embeddings.masked_scatter(at, embeddings[at] + wanted.reshape(-1))
        assert torch.equal(embed(net, ids, found, places), added)
        # Negative control: the order of the features matters.
        assert not torch.equal(embed(net, ids, found.flip(0), places), added)


def test_a_connector_that_would_ignore_its_mask_is_refused() -> None:
    net, of = model(), pictures()
    net.set_attn_implementation({"adapter_config": "eager"})
    with pytest.raises(ConfigError, match="the model's connector uses attention 'eager'"):
        visual_features(net, torch.as_tensor(of.visual.patches), torch.as_tensor(of.visual.pooling))
