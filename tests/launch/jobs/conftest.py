"""The repository of `dvc_world`, made once; each test has a copy of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.launch.jobs.dvc_world import copied, dvc, make_repository


@pytest.fixture(scope="session")
def _fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_repository(tmp_path_factory.mktemp("dvc") / "fresh")


@pytest.fixture(scope="session")
def _done(_fresh: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = copied(_fresh, tmp_path_factory.mktemp("dvc") / "done")
    dvc(root, "repro", "--quiet", "joined", "parts", "fetched", "pipelines/toy/dvc.yaml")
    return root


@pytest.fixture
def fresh(_fresh: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nothing has run."""
    root = copied(_fresh, tmp_path / "repository")
    monkeypatch.chdir(root)
    return root


@pytest.fixture
def done(_done: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Everything is up to date."""
    root = copied(_done, tmp_path / "repository")
    monkeypatch.chdir(root)
    return root
