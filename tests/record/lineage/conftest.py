"""The stages of `stage_world`, run once for all tests of a session."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.record.lineage.stage_world import copied, make_stage_world
from trackyard.record.image import IMAGE_FILE_VARIABLE


@pytest.fixture(scope="session")
def made_stages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Only read it."""
    return make_stage_world(tmp_path_factory.mktemp("stages") / "made").root


@pytest.fixture
def stages(made_stages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the checkout, to be changed."""
    monkeypatch.delenv(IMAGE_FILE_VARIABLE, raising=False)
    return copied(made_stages, tmp_path / "checkout")
