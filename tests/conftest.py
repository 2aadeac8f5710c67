"""What holds for every test."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadFileScheduling

from tests.system.everything import SHARED_BY

# How long an example takes, or its making, says something about the machine, not about the code.
settings.register_profile("trackyard", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("trackyard")

# Programs that tests start (dvc, trackyard, mlflow) are those of the environment that the tests run in.
os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

# huggingface_hub reads these once, when it is imported. Tests of fetching name their loopback hub; no other hub exists
# for them, so a call that was not meant fails at once. Commands that train are started with HF_HUB_OFFLINE=1.
for variable in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_TOKEN"):
    os.environ.pop(variable, None)
os.environ["HF_ENDPOINT"] = "http://127.0.0.1:9"

# Started by nohup or in the background of a script, pytest ignores Ctrl-C; so would all that tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

# What verifications remember (trackyard.acquire.files.stat_cache) goes nowhere near the user's own; removed at the end.
_CACHE = tempfile.TemporaryDirectory(prefix="trackyard-tests-")
os.environ["XDG_CACHE_HOME"] = _CACHE.name
# Nor does what DVC keeps of a repository beside it; and it reports nothing from a process that outlives the test.
os.environ |= {"DVC_SITE_CACHE_DIR": f"{_CACHE.name}/dvc", "DVC_NO_ANALYTICS": "1"}


@pytest.fixture(autouse=True)
def ordinary_priority() -> Iterator[None]:
    """No test leaves the process a real-time one: what it starts would starve everything beside it."""
    yield
    assert os.sched_getscheduler(0) == os.SCHED_OTHER


@pytest.fixture(autouse=True)
def ordinary_signals() -> Iterator[None]:
    """A stage that a signal has stopped ignores further ones for good; what later tests start would inherit that."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
    before = {number: signal.getsignal(number) for number in numbers}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == set()


@pytest.fixture(autouse=True, scope="module")
def ordinary_environment() -> Iterator[None]:
    """A process that trains alone says in its environment that it is rank 0 of 1; what later tests start would too."""
    before = dict(os.environ)
    assert "WORLD_SIZE" not in before, "a fixture of the session left it"
    yield
    os.environ.clear()
    os.environ.update(before)


class ByWorkspace(LoadFileScheduling):
    """A file at a time to each worker; files that look at one workspace count as one.

    What takes longest is begun first: left to the end, where files of few tests come, it would have one worker wait.
    """

    _SHARED = "one workspace"
    _LONG = (
        _SHARED,
        "tests/cluster/test_inside.py",
        "tests/cluster/test_training_jobs.py",
        "tests/models/test_context.py",
        "tests/system/test_url_images.py",
        "tests/system/test_fifty_kills.py",
        "tests/system/test_real_input.py",
    )

    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        return self._SHARED if file in SHARED_BY else file

    def _assign_work_unit(self, node: Any) -> None:
        for long in reversed(self._LONG):
            if long in self.workqueue:
                self.workqueue.move_to_end(long, last=False)
        super()._assign_work_unit(node)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByWorkspace:
    return ByWorkspace(config, log)
