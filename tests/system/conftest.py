"""The small repository, made once, with stage 1 done; one whose stage 2 was never interrupted; and the whole demo."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator

import pytest

from tests.system.commands import BIN, environment
from tests.system.everything import Everything, run_everything
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


@pytest.fixture(scope="session")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Everything:
    """A clone in which `make demo-all` ran."""
    return run_everything(tmp_path_factory.mktemp("everything") / "trackyard")


@pytest.fixture(scope="module")
def served(everything: Everything) -> Iterator[str]:
    """`make ui`'s command on a free port, ended by its own process id."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [str(BIN / "trackyard"), "ui", "--port", str(port)],
        cwd=everything.clone,
        env=environment(),
        start_new_session=True,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(240):
            assert process.poll() is None, "the server ended by itself"
            try:
                urllib.request.urlopen(f"{address}/health", timeout=2).read()
                break
            except OSError:
                time.sleep(0.5)
        else:
            pytest.fail("the server did not answer within two minutes")
        yield address
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=30)
