"""What layers with a window see of a block: the formula against the masks themselves."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.models.theworld.tiny import CPU
from trackyard.errors import ConfigError
from trackyard.feed.visibility import Visibility
from trackyard.models.attention import dense_mask
from trackyard.models.theworld.window import visible_tokens, window_report

LAYERS = tuple("full_attention" if (number + 1) % 6 == 0 else "sliding_attention" for number in range(34))


def test_the_example_of_the_specification() -> None:
    report = window_report([(300, 4396)], 4396 + 61, window=1024, layer_types=LAYERS)
    assert (report.distance, report.visible, report.tokens) == (61, 963, 4096)
    assert (report.local, report.layers) == (29, 34)
    assert report.share == pytest.approx(0.235, abs=5e-4)
    warning = report.require()
    assert warning is not None
    assert "963 of 4,096 world tokens (23.5%)" in warning
    assert window_report([(260, 324)], 350, window=1024, layer_types=LAYERS).require() is None


@settings(max_examples=60, deadline=None)
@given(before=st.integers(0, 6), tokens=st.integers(1, 12), after=st.integers(1, 12), window=st.integers(1, 20))
def test_the_formula_counts_what_the_mask_shows(before: int, tokens: int, after: int, window: int) -> None:
    length = before + tokens + after
    flat = np.zeros((1, length), dtype=np.int32)
    mask = dense_mask(Visibility(levels=flat, spans=flat - 1), CPU, window)[0, 0, -1]
    report = window_report([(before, before + tokens)], length, window=window, layer_types=LAYERS)
    assert report.visible == int(mask[before : before + tokens].sum())
    assert report.visible == visible_tokens(tokens, after, window)


def test_an_invisible_world_is_an_error_unless_it_is_allowed() -> None:
    report = window_report([(1, 65)], 1100, window=1024, layer_types=LAYERS)
    assert report.share == 0
    with pytest.raises(ConfigError, match="0 of 64 world tokens"):
        report.require()
    assert report.require(allow_invisible=True) is not None


def test_several_blocks_count_together_and_global_layers_see_all() -> None:
    report = window_report([(1, 65), (1000, 1064)], 1100, window=1024, layer_types=LAYERS)
    assert (report.visible, report.tokens, report.share) == (64, 128, 0.5)
    assert window_report([(1, 65)], 1100, window=8, layer_types=["full_attention"]).share == 1.0
    assert window_report([], 100, window=8, layer_types=LAYERS).share == 1.0
