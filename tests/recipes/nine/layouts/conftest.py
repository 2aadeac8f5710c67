"""The staged miniature, made once for all tests of readers."""

from __future__ import annotations

import pytest

from tests.recipes.nine.layouts.miniature import Staged, stage_miniature


@pytest.fixture(scope="session")
def staged(tmp_path_factory: pytest.TempPathFactory) -> Staged:
    return stage_miniature(tmp_path_factory.mktemp("nine"))
