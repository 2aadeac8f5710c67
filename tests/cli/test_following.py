"""When a training is followed, by what, and how that ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.record.conftest import make_spec
from tests.record.serving import wait_for
from trackyard.cli import following as module
from trackyard.cli.following import EVERY_VARIABLE, NICE, following, seconds
from trackyard.errors import ConfigError
from trackyard.launch.processes import free_port
from trackyard.record.rundir import RunDirectory, open_or_create
from trackyard.record.spool import Spool

SERVER = "http://127.0.0.1:9"


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str], Mapping[str, str], int]]:
    """What would have been started."""
    found: list[tuple[list[str], Mapping[str, str], int]] = []

    class Begun:
        def __init__(self, argv: list[str], environment: Mapping[str, str], *, nice: int) -> None:
            found.append((argv, environment, nice))

        def __enter__(self) -> None:
            return

        def __exit__(self, *_: object) -> None:
            return

    monkeypatch.setattr(module, "beside", Begun)
    for name in ("MLFLOW_TRACKING_URI", EVERY_VARIABLE, "RANK", "WORLD_SIZE", "SLURM_PROCID", "SLURM_NTASKS"):
        monkeypatch.delenv(name, raising=False)
    return found


@pytest.mark.parametrize(
    ("uri", "every", "expected"),
    [
        (None, None, None),
        (SERVER, None, "30"),
        ("sqlite:////tmp/x.db", None, None),
        (SERVER, "0", None),
        (SERVER, "5", "5"),
        (None, "2.5", "2.5"),
    ],
)
def test_a_training_is_followed_where_somebody_asked_for_it(
    tmp_path: Path,
    begun: list[tuple[list[str], Mapping[str, str], int]],
    monkeypatch: pytest.MonkeyPatch,
    uri: str | None,
    every: str | None,
    expected: str | None,
) -> None:
    for name, value in (("MLFLOW_TRACKING_URI", uri), (EVERY_VARIABLE, every)):
        if value is not None:
            monkeypatch.setenv(name, value)
    with following(tmp_path):
        pass
    assert [argv[-1] for argv, _, _ in begun] == ([] if expected is None else [expected])


def test_the_address_with_its_password_is_no_argument(
    tmp_path: Path, begun: list[tuple[list[str], Mapping[str, str], int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    password = "pw" * 6
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://u:{password}@127.0.0.1:9")
    with following(tmp_path):
        pass
    ((argv, environment, nice),) = begun
    assert password not in " ".join(argv)
    assert password in environment["MLFLOW_TRACKING_URI"]
    assert nice == NICE == 19


def test_of_several_ranks_the_first_follows(
    tmp_path: Path, begun: list[tuple[list[str], Mapping[str, str], int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", SERVER)
    ranks = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "20000"}
    for rank in ("1", "0"):
        for name, value in {**ranks, "RANK": rank, "LOCAL_RANK": rank}.items():
            monkeypatch.setenv(name, value)
        with following(tmp_path):
            pass
        assert len(begun) == (0 if rank == "1" else 1)


@pytest.mark.parametrize("text", ["soon", "-1", "nan", "inf", "86401"])
def test_a_number_that_is_none(text: str) -> None:
    with pytest.raises(ConfigError, match=EVERY_VARIABLE):
        seconds(text)


def _spooled(root: Path) -> RunDirectory:
    (root / "params.yaml").write_text("")
    run = open_or_create(root / "runs", make_spec(parent=None))
    with Spool(run.spool, run.new_attempt()) as spool:
        for step in range(1, 11):
            spool.metrics({"train/loss": 1 / step}, step)
        spool.status("finished")
    return run


@pytest.mark.system
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_following_ends_in_order_when_it_is_interrupted(tmp_path: Path, number: signal.Signals) -> None:
    run = _spooled(tmp_path)
    environment = {**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db"}
    argv = [sys.executable, "-m", "trackyard", "record", "sync", "--follow", "0.2"]
    with subprocess.Popen(argv, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        try:
            assert child.stdout is not None
            assert child.stdout.readline().decode() == "record    10 points delivered to MLflow\n"
            assert (run.spool / "synced.json").is_file()
            child.send_signal(number)
            out, err = child.communicate(timeout=30)
        finally:
            child.kill()
    assert (child.returncode, out) == (0, b"")
    assert b"Traceback" not in err


@pytest.mark.system
def test_the_follower_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    _spooled(tmp_path)
    environment = {**os.environ, "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{free_port()}"}
    argv = [sys.executable, "-m", "trackyard.cli.following", "0.2"]
    child = subprocess.Popen(argv, cwd=tmp_path, env=environment, stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        assert child.stderr is not None
        assert b"does not answer" in child.stderr.readline()
        assert child.stdin is not None
        child.stdin.close()
        wait_for(lambda: child.poll() is not None, seconds=20)
    finally:
        child.kill()
        child.wait()
        if child.stderr is not None:
            child.stderr.close()


@pytest.mark.system
def test_status_says_what_is_pending_without_a_server(tmp_path: Path) -> None:
    import json

    run = _spooled(tmp_path)
    environment = {**os.environ, "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{free_port()}"}

    def typed(*words: str) -> str:
        argv = [sys.executable, "-m", "trackyard", "record", *words]
        return subprocess.run(argv, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True).stdout

    started = time.monotonic()
    text = typed("status")
    assert time.monotonic() - started < 20
    assert f"molmo2/stage2/{run.spec.run_id}  10 of 10 points pending  (no sync has run here)" in text
    assert "1 runs, 0 points delivered, 10 pending" in text
    assert "next: trackyard record sync" in text
    body = json.loads(typed("status", "--json"))
    assert body["total"] == {"spooled": 10, "delivered": 0, "pending": 10, "refused": 0, "torn": 0, "damaged": 0}
