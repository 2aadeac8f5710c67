"""The small repository, made once, with stage 1 done; one whose stage 2 was never interrupted; and the whole demo."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.system.commands import BIN, environment
from tests.system.everything import Everything, run_everything
from tests.system.mlflow_server import serving
from tests.system.repository import Repository, make_repository
from trackyard.launch.processes import free_port


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


@pytest.fixture(scope="session")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Everything:
    """A clone in which `make demo-all` ran."""
    return run_everything(tmp_path_factory.mktemp("everything") / "trackyard")


@pytest.fixture(scope="module")
def served(everything: Everything, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`make ui`'s command on a free port."""
    port, log = free_port(), tmp_path_factory.mktemp("ui") / "out.txt"
    argv = [str(BIN / "trackyard"), "ui", "--port", str(port)]
    with serving(argv, port, environment(), folder=everything.clone, log=log) as address:
        yield address
