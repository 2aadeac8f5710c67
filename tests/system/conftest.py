"""The small repository: made once, with stage 1 done; and one whose stage 2 was never interrupted."""

from __future__ import annotations

import pytest

from tests.system.repository import Repository, make_repository


@pytest.fixture(scope="session")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """A root in which nothing has run."""
    return make_repository(tmp_path_factory.mktemp("bare") / "root")


@pytest.fixture(scope="session")
def after_stage1(bare: Repository, tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """A root with the export of stage 1. Tests copy it."""
    repository = bare.copy(tmp_path_factory.mktemp("stage1") / "root")
    ended = repository.trackyard("run", "molmo2", "stage1")
    assert ended.code == 0, ended
    return repository


@pytest.fixture(scope="session")
def uninterrupted(after_stage1: Repository, tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """A root whose stage 2 ran through at once: what every other history must equal."""
    repository = after_stage1.copy(tmp_path_factory.mktemp("uninterrupted") / "root")
    ended = repository.stage2()
    assert ended.code == 0, ended
    return repository
