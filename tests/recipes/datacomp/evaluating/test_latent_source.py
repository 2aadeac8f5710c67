"""What an arm's branch is given: its picture's latent, zeros, or another picture's, and never its own by accident."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackyard.errors import DataError
from trackyard.recipes.datacomp.evaluating.latent_source import PictureLatents, exchanged

NAMES = [f"{number:064x}" for number in range(7)]


class Kept:
    """A latent whose value is the number of its picture."""

    def many(self, images: Sequence[str]) -> np.ndarray:
        return np.stack([np.full((2, 3, 3), int(image, 16) + 1, dtype=np.float16) for image in images])


@given(st.sets(st.text("0123456789abcdef", min_size=64, max_size=64), min_size=2, max_size=40))
def test_no_picture_keeps_its_own_and_every_latent_is_given_once(names: set[str]) -> None:
    found = exchanged(sorted(names))
    assert found.keys() == set(found.values()) == names
    assert all(picture != other for picture, other in found.items())


@given(st.permutations(NAMES))
def test_the_exchange_does_not_depend_on_order(names: list[str]) -> None:
    assert exchanged(names) == exchanged(NAMES)


def test_one_picture_has_nothing_to_exchange_with() -> None:
    for names in ([], NAMES[:1], [NAMES[0], NAMES[0]]):
        with pytest.raises(DataError, match="distinct picture"):
            exchanged(names)


def test_what_each_kind_gives_and_counts() -> None:
    for branch in ("on", "zeros", "shuffled"):
        source = PictureLatents(Kept(), branch, NAMES)
        values = [source.of([name])[0, 0, 0, 0] for name in NAMES]
        own = [int(name, 16) + 1 for name in NAMES]
        if branch == "on":
            assert values == own
        elif branch == "zeros":
            assert values == [0] * len(NAMES)
        else:
            assert sorted(values) == own
            assert all(value != mine for value, mine in zip(values, own, strict=True))
        assert source.given == len(NAMES)
        assert source.of(NAMES[:3]).shape == (3, 2, 3, 3)
        assert source.given == len(NAMES) + 3
