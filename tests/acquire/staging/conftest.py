from __future__ import annotations

from pathlib import Path

import pytest

from tests.nine_fixture import NineTree, build
from trackyard.acquire.staging.roots import Roots


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was proved before is remembered below the test's own folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))


@pytest.fixture
def tree(tmp_path: Path) -> NineTree:
    return build(tmp_path / "a")


@pytest.fixture
def target(tmp_path: Path) -> Roots:
    return Roots.below(tmp_path / "b")
