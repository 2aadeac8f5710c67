import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackyard.errors import ConfigError
from trackyard.evaluate.sweep.levels import KnobLevels, block_count, block_counts
from trackyard.evaluate.sweep.strategies import points


def test_shares_of_depth_of_the_spec() -> None:
    shares = (0.75, 0.8125, 0.875, 0.9375, 1.0)
    assert block_counts(shares, 36) == (27, 29, 32, 34, 36)
    assert block_counts(shares, 16) == (12, 13, 14, 15, 16)


def test_middle_of_six_levels_of_the_spec_is_8() -> None:
    for levels, middle in (((2, 4, 6, 8, 10, 12), 8), ((2, 4, 6, 8, 10), 6), ((7,), 7)):
        chosen = [point.visual for point in points(KnobLevels(visual=levels), "balanced")]
        assert chosen == sorted({levels[0], middle, levels[-1]})


def test_a_share_is_the_decimal_that_was_written() -> None:
    assert 0.145 * 100 < 14.5
    assert block_count(0.145, 100) == 15


@given(st.integers(2, 200), st.integers(2, 200))
def test_every_count_is_its_own_share(layers: int, count: int) -> None:
    count = min(count, layers)
    assert block_count(count / layers, layers) == count


def test_shares_that_mean_one_count_are_one_level() -> None:
    assert block_counts((0.75, 0.8125, 1.0), 4) == (3, 4)


@pytest.mark.parametrize(("share", "layers"), [(0.0, 16), (1.01, 16), (-1.0, 16), (0.05, 16)])
def test_a_share_that_leaves_too_little_is_refused(share: float, layers: int) -> None:
    with pytest.raises(ConfigError, match=f"a depth of {share:g} of {layers} blocks"):
        block_count(share, layers)


@pytest.mark.parametrize("levels", [(4, 2), (2, 2)])
def test_levels_rise(levels: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match="levels of the knob experts"):
        KnobLevels(visual=(1, 2), experts=levels)
