"""Delivery to a real server over HTTP that is slow, refuses, or does not answer what it does; and what it is asked."""

from __future__ import annotations

import shutil
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.record.serving import Proxy
from tests.record.tracking.test_registry import EXPORT, SpecOf, committed, exported, versions
from tests.record.tracking.test_sync import assert_once, stored_run, train
from tests.system.mlflow_server import mlflow_server
from trackyard.record.lineage.origins import NO_PLAN
from trackyard.record.rundir import RunDirectory, open_or_create
from trackyard.record.spool import Spool
from trackyard.record.tracking import server as server_module
from trackyard.record.tracking.server import AT_STAGE_END, OutOfTime, Patience
from trackyard.record.tracking.sync import sync_all, sync_run

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def server(empty_database: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One server for all tests; their runs differ."""
    database = tmp_path_factory.mktemp("server") / "mlflow.db"
    shutil.copyfile(empty_database, database)
    with mlflow_server(database) as uri:
        yield uri


@pytest.fixture
def proxy(server: str) -> Iterator[Proxy]:
    with Proxy(server) as found:
        yield found


@pytest.fixture
def own(tmp_path: Path, spec_of: SpecOf, request: pytest.FixtureRequest) -> RunDirectory:
    """A run that no other test has."""
    return open_or_create(tmp_path / "runs", spec_of(parameters={"test": request.node.name}, parent=None))


def test_a_server_that_takes_ten_seconds_for_an_answer_works(own: RunDirectory, proxy: Proxy, server: str) -> None:
    train(own, 1, 20, end="finished")
    sync_run(own.path, server)
    train(own, 21, 30, end="finished")
    proxy.delay_s, proxy.delayed = 10.0, 3
    report = sync_run(own.path, proxy.uri)
    assert (report.warning, report.points) == (None, 20)
    assert_once(server, own, 30)


def test_at_the_end_of_a_stage_it_is_given_fifteen_seconds(own: RunDirectory, proxy: Proxy, server: str) -> None:
    train(own, 1, 20, end="finished")
    proxy.delay_s = 6.0
    started = time.monotonic()
    (report,) = sync_all(own.root, proxy.uri, patience=AT_STAGE_END, only_changed=True)
    assert time.monotonic() - started < 30.0
    assert report.unreachable
    proxy.delay_s = 0.0
    assert sync_all(own.root, proxy.uri)[0].warning is None
    assert_once(server, own, 20)


def test_what_is_cut_by_the_clock_goes_on_where_it_was(
    own: RunDirectory, proxy: Proxy, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(own, 1, 6_000, end="finished")

    def clock() -> float:
        """An hour later once the server has been sent a few of the twelve batches."""
        return time.monotonic() + 3600 * (sum(path.endswith("/runs/log-batch") for path in proxy.requests) > 4)

    with monkeypatch.context() as patch:
        patch.setattr(server_module, "time", SimpleNamespace(monotonic=clock))
        (cut,) = sync_all(own.root, proxy.uri, patience=Patience(answer_s=120.0, total_s=1800.0))
    assert isinstance(cut.warning, OutOfTime)
    assert 0 < cut.points < 12_000
    (rest,) = sync_all(own.root, proxy.uri)
    assert cut.points + rest.points == 12_000
    assert_once(server, own, 6_000)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_server_in_trouble_loses_nothing(own: RunDirectory, proxy: Proxy, server: str, status: int) -> None:
    train(own, 1, 5)
    proxy.refuse = status
    report = sync_run(own.path, proxy.uri)
    assert report.unreachable
    proxy.refuse = None
    assert sync_run(own.path, proxy.uri).points == 10
    assert_once(server, own, 5)


def test_a_run_that_the_server_made_without_an_answer_is_taken(own: RunDirectory, proxy: Proxy, server: str) -> None:
    train(own, 1, 5)
    proxy.swallow = "/runs/create"
    assert sync_run(own.path, proxy.uri).unreachable
    assert proxy.swallow is None
    assert sync_run(own.path, proxy.uri).points == 10
    assert_once(server, own, 5)


def test_points_that_the_server_took_without_an_answer_are_there_once(
    own: RunDirectory, proxy: Proxy, server: str
) -> None:
    train(own, 1, 800)
    proxy.swallow = "/runs/log-batch"
    # They are sent once more, alone: a database may refuse two batches of one run at once.
    assert sync_run(own.path, proxy.uri).warning is None
    assert proxy.swallow is None
    assert_once(server, own, 800)


def test_two_machines_with_copies_of_one_run_make_one_run(own: RunDirectory, server: str, tmp_path: Path) -> None:
    """Both deliver at once, again and again; one run carries the id, with every point once."""
    train(own, 1, 300)
    copies = []
    for name in ("a", "b", "c"):
        shutil.copytree(own.root, tmp_path / name / "runs")
        copies.append(tmp_path / name / "runs")
    start = threading.Barrier(len(copies))
    wrong: list[Any] = []

    def machine(root: Path) -> None:
        start.wait()
        for _ in range(3):
            wrong.extend(report.warning for report in sync_all(root, server) if report.warning)

    threads = [threading.Thread(target=machine, args=(root,)) for root in copies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # One of them may have found its run taken away twice; nothing is lost by that.
    for root in copies:
        assert [report.warning for report in sync_all(root, server)] == [None], wrong
    stored_run(server, own)
    assert_once(server, own, 300)


def test_an_export_becomes_a_version_on_a_server_that_checks_paths(
    tmp_path: Path, spec_of: SpecOf, server: str
) -> None:
    spec = spec_of(plan=NO_PLAN, snapshots={}, model={}, parent=None, track="registry")
    run = open_or_create(tmp_path / "runs", spec)
    with Spool(run.spool, run.new_attempt()) as spool:
        spool.model("molmo2-stage2", EXPORT)
        spool.status("finished")
    exported(tmp_path, spec)
    md5 = committed(tmp_path)
    for _ in range(2):
        assert sync_all(run.root, server)[0].warning is None
    assert [item.source for item in versions(server)] == [f"dvc://{EXPORT}?md5={md5}"]


def test_the_server_is_asked_no_more_than_it_takes(own: RunDirectory, proxy: Proxy) -> None:
    """A request costs the server far more than a point of it, so their number is what delivery costs."""
    with Spool(own.spool, own.new_attempt()) as spool:
        for step in range(1500):
            spool.metrics({f"train/metric_{number}": step / 7 for number in range(10)}, step)
        spool.status("finished")
    assert sync_run(own.path, proxy.uri).points == 15_000
    asked = Counter(path.partition("?")[0].rpartition("/mlflow")[2] for path in proxy.requests)
    # Fifteen with points; then parameters, tags, and how much was delivered.
    assert asked.pop("/runs/log-batch") == 15 + 3
    # To find or make the experiment and the run, its data sets, its status, one small file, and whether it is there.
    assert asked.total() <= 12, asked
