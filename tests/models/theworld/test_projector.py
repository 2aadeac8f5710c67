"""Rearrangements lose nothing, and every token stands for its own place."""

from __future__ import annotations

from typing import get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from trackyard.models.theworld.parameters import POOLED, Mode, ProjectorKind, tokens_of
from trackyard.models.theworld.projector import features_of, projector_of

SHAPES = st.tuples(st.integers(1, 5), st.sampled_from([8, 16]), st.sampled_from([8, 24]))


@settings(max_examples=30, deadline=None)
@given(mode=st.sampled_from([mode for mode in get_args(Mode) if mode != "stats"]), shape=SHAPES)
def test_every_number_comes_through_once(mode: Mode, shape: tuple[int, int, int]) -> None:
    latents = torch.arange(2.0 * shape[0] * shape[1] * shape[2]).reshape(2, *shape)
    features = features_of(mode, latents)
    assert tuple(features.shape) == (2, *tokens_of(mode, shape))
    for one, own in zip(features, latents, strict=True):
        assert torch.equal(one.flatten().sort().values, own.flatten().sort().values)


@settings(max_examples=30, deadline=None)
@given(mode=st.sampled_from(sorted(POOLED)), shape=SHAPES, data=st.data())
def test_a_token_is_a_square_in_row_major_order(mode: Mode, shape: tuple[int, int, int], data: st.DataObject) -> None:
    """Written once more, by slices: token (i, j) holds channels first, then rows, then columns of its square."""
    side, latents = POOLED[mode], torch.rand(1, *shape)
    rows, columns = shape[1] // side, shape[2] // side
    i, j = data.draw(st.integers(0, rows - 1)), data.draw(st.integers(0, columns - 1))
    square = latents[0, :, i * side : (i + 1) * side, j * side : (j + 1) * side]
    assert torch.equal(features_of(mode, latents)[0, i * columns + j], square.flatten())


def test_channels_and_statistics() -> None:
    latents = torch.rand(3, 4, 8, 8)
    assert torch.equal(features_of("channel", latents)[1, 2], latents[1, 2].flatten())
    one = latents[2, 3]
    expected = torch.stack([one.mean(), one.std(correction=0), one.min(), one.max()])
    torch.testing.assert_close(features_of("stats", latents)[2, 0, 12:], expected)


@pytest.mark.parametrize("kind", get_args(ProjectorKind))
def test_layers_of_the_projector(kind: ProjectorKind) -> None:
    layers = [type(layer) for layer in projector_of(kind, 6, 4)]
    inner = [nn.Linear, nn.GELU, nn.Linear]
    assert layers == {"linear": [nn.Linear], "mlp": inner, "mlp_gelu_out": [*inner, nn.GELU]}[kind]
    found = projector_of(kind, 6, 4)(torch.rand(2, 3, 6))
    assert found.shape == (2, 3, 4)
