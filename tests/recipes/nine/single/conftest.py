"""Models, data and a root, made once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.recipes.nine.single.small_world import ENVIRONMENT, SmallWorld, make_world


@pytest.fixture(scope="session")
def small_world(tmp_path_factory: pytest.TempPathFactory) -> SmallWorld:
    return make_world(tmp_path_factory.mktemp("single"))


@pytest.fixture(scope="module", autouse=True)
def _code_of_an_image() -> Iterator[None]:
    """The root is no checkout."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        yield
