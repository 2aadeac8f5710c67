"""A run specification that tests vary, and a run directory made from it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trackyard.record.code import CodeIdentity
from trackyard.record.identity import RunSpec
from trackyard.record.rundir import RunDirectory, open_or_create
from trackyard.record.tracking.store import TrackingStore


def make_spec(**changes: Any) -> RunSpec:
    """A complete specification with `changes`."""
    values: dict[str, Any] = {
        "track": "molmo2",
        "stage": "stage2",
        "parameters": {"steps": 12, "optimiser": {"lr": 1e-4, "betas": [0.9, 0.95]}, "name": "mini"},
        "plan": "a" * 64,
        "model": {"id": "allenai/Molmo2-4B", "revision": "0" * 40},
        "snapshots": {"charts": "b" * 64, "clips": "c" * 64},
        "parent": "1234567890ab",
        "code": CodeIdentity(commit="d" * 40, dirty_digest=None),
        "image": None,
        "seed": 7,
    }
    return RunSpec(**{**values, **changes})


@pytest.fixture
def spec_of() -> Callable[..., RunSpec]:
    return make_spec


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return open_or_create(tmp_path / "runs", make_spec())


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with MLflow's tables, made once: that takes a second."""
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    store = TrackingStore(f"sqlite:///{path}")
    store.run(experiment="other", run_id="none", name="none", start_ms=0, tags={})
    return path


@pytest.fixture
def database_uri(empty_database: Path, tmp_path: Path) -> str:
    path = tmp_path / "mlflow.db"
    shutil.copyfile(empty_database, path)
    return f"sqlite:///{path}"
