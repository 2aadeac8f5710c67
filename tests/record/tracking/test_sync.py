"""Sync twice is sync once; killed anywhere and repeated it is sync once; an absent store costs seconds and no point."""

from __future__ import annotations

import json
import os
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.system.mlflow_server import mlflow_server
from trackyard.digest import digest_file
from trackyard.errors import DataError, EnvironmentLacking, TrackyardError
from trackyard.exclusive import exclusive
from trackyard.launch.processes import free_port
from trackyard.record import points as points_module
from trackyard.record.identity import RunSpec
from trackyard.record.rundir import RunDirectory, open_or_create
from trackyard.record.spool import Spool
from trackyard.record.tracking import synced as synced_module
from trackyard.record.tracking.artifacts import LARGEST_ARTIFACT
from trackyard.record.tracking.delivery import DELIVERED_TAG
from trackyard.record.tracking.pending import pending_runs
from trackyard.record.tracking.server import RUN_TAG, tracking_uri, unreachable
from trackyard.record.tracking.store import Refused, RunGone, TrackingStore
from trackyard.record.tracking.sync import LOCK, SyncReport, sync_all, sync_run
from trackyard.record.tracking.synced import STATE

KEYS = ("loss", "lr")


def value_at(key: str, step: int) -> float:
    return step / (7 if key == "loss" else 11)


def train(run: RunDirectory, first: int, last: int, *, end: str | None = None) -> Spool:
    """One attempt that runs steps first..last."""
    spool = Spool(run.spool, run.new_attempt())
    spool.status("running")
    for step in range(first, last + 1):
        spool.metrics({key: value_at(key, step) for key in KEYS}, step)
    spool.flush()
    if end:
        spool.status(end)  # type: ignore[arg-type]
    return spool


def stored_run(uri: str, run: RunDirectory) -> Any:
    """The one MLflow run of `run`."""
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name(run.spec.track)
    found = client.search_runs([experiment.experiment_id], filter_string=f"tags.`{RUN_TAG}` = '{run.spec.run_id}'")
    assert len(found) == 1
    return found[0]


def history(uri: str, run: RunDirectory, key: str) -> list[tuple[int, int, float]]:
    from mlflow import MlflowClient

    points = MlflowClient(uri).get_metric_history(stored_run(uri, run).info.run_id, key)
    return sorted((point.step, point.timestamp, point.value) for point in points)


def assert_once(uri: str, run: RunDirectory, last: int) -> None:
    """Each step 1..last of each metric exactly once, with its value and the time at which it was first spooled."""
    times: dict[int, int] = {}
    for path in sorted(run.spool.glob("*.jsonl")):
        for line in path.read_text().split("\n")[:-1]:
            event = json.loads(line)
            if event["event"] == "metrics":
                times.setdefault(event["step"], event["timestamp"])
    for key in KEYS:
        assert history(uri, run, key) == [(step, times[step], value_at(key, step)) for step in range(1, last + 1)]


def test_everything_about_a_run_arrives(run: RunDirectory, database_uri: str) -> None:
    (run.path / "figures").mkdir()
    (run.path / "figures" / "loss.svg").write_text("<svg/>")
    with train(run, 1, 3) as spool:
        spool.tag("note", "first")
        spool.dataset("charts", "b" * 64, "hub:x@1", "training")
        spool.artifact("figures/loss.svg")
        spool.metrics({"norm": float("inf")}, 3)
        spool.status("finished")
    report = sync_run(run.path, database_uri)
    assert report == SyncReport(run_id=run.spec.run_id, points=6, nonfinite=1)
    found = stored_run(database_uri, run)
    assert found.info.run_name == f"stage2 · {run.spec.run_id}"
    assert found.info.status == "FINISHED"
    assert found.info.end_time is not None
    assert found.data.params["optimiser.lr"] == "0.0001"
    expected = {
        "trackyard.run_id": run.spec.run_id,
        "trackyard.stage": "stage2",
        "trackyard.parent_run": "1234567890ab",
        "trackyard.plan": "a" * 64,
        "trackyard.snapshot.charts": "b" * 64,
        "mlflow.source.git.commit": "d" * 40,
        "trackyard.nonfinite": "1: norm@3=inf",
        "note": "first",
    }
    assert expected.items() <= found.data.tags.items()
    inputs = {(item.dataset.name, item.dataset.digest) for item in found.inputs.dataset_inputs}
    assert inputs == {("charts", "b" * 36), ("clips", "c" * 36)}
    artifacts = Path(found.info.artifact_uri)
    assert artifacts.is_relative_to(Path(database_uri.removeprefix("sqlite:///")).parent / "mlartifacts" / "molmo2")
    assert (artifacts / "figures" / "loss.svg").read_text() == "<svg/>"
    assert (artifacts / "spec.json").read_bytes() == (run.path / "spec.json").read_bytes()
    assert_once(database_uri, run, 3)


def test_twice_is_once_and_only_new_points_are_sent(run: RunDirectory, database_uri: str) -> None:
    with train(run, 1, 30) as spool:
        assert sync_run(run.path, database_uri).points == 60
        assert sync_run(run.path, database_uri).points == 0
        spool.metrics({key: value_at(key, 31) for key in KEYS}, 31)
        spool.flush()
        assert sync_run(run.path, database_uri).points == 2
    assert_once(database_uri, run, 31)


def test_a_resumed_run_adds_nothing_for_steps_it_repeats(run: RunDirectory, database_uri: str) -> None:
    train(run, 1, 20)
    assert sync_run(run.path, database_uri).points == 40
    train(run, 11, 30)
    assert sync_run(run.path, database_uri).points == 20
    train(run, 21, 35, end="finished")
    report = sync_run(run.path, database_uri)
    assert (report.points, report.differences) == (10, {})
    assert_once(database_uri, run, 35)


def test_a_kill_that_tears_a_line_loses_only_what_is_run_again(run: RunDirectory, database_uri: str) -> None:
    spool = train(run, 1, 20)
    data = spool.path.read_bytes()
    spool.path.write_bytes(data[:-9])
    report = sync_run(run.path, database_uri)
    assert (report.points, report.torn) == (38, 1)
    train(run, 11, 25)
    report = sync_run(run.path, database_uri)
    assert (report.points, report.torn) == (12, 1)
    assert_once(database_uri, run, 25)


class Killed(BaseException):
    """The sync dies here."""


@contextmanager
def dying(at: int) -> Iterator[list[str]]:
    """Every write to the store and to the state counts twice, before and after it is done; the `at`-th one kills."""
    from mlflow import MlflowClient

    seen: list[str] = []

    def step(name: str) -> None:
        seen.append(name)
        if len(seen) == at:
            raise Killed

    def wrapped(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            step(f"before {name}")
            result = real(*arguments, **named)
            step(f"after {name}")
            return result

        return call

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(points_module, "BATCH", 10)
        for name in ("create_run", "log_batch", "log_inputs", "log_artifact", "set_terminated", "update_run"):
            patch.setattr(MlflowClient, name, wrapped(name, getattr(MlflowClient, name)))
        patch.setattr(synced_module, "write_document", wrapped("state", synced_module.write_document))
        yield seen


def test_killed_at_any_point_and_repeated_is_once(
    tmp_path: Path, database_uri: str, spec_of: Callable[..., RunSpec]
) -> None:
    at = 0
    died = True
    kinds: set[str] = set()
    while died:
        at += 1
        run = open_or_create(tmp_path / "runs", spec_of(seed=at))
        train(run, 1, 10)
        with dying(at) as seen:
            try:
                sync_run(run.path, database_uri)
                died = False
            except Killed:
                kinds.add(seen[-1])
        # The run was resumed before anybody synced again.
        train(run, 6, 12, end="finished")
        assert sync_run(run.path, database_uri).warning is None
        assert sync_run(run.path, database_uri).points == 0
        assert_once(database_uri, run, 12)
        assert stored_run(database_uri, run).info.status == "FINISHED"
    names = ("create_run", "log_batch", "log_inputs", "log_artifact", "state")
    assert kinds == {f"{when} {name}" for when in ("before", "after") for name in names}


def test_without_its_state_it_replays_without_duplicates(run: RunDirectory, database_uri: str) -> None:
    train(run, 1, 20)
    sync_run(run.path, database_uri)
    train(run, 11, 30)
    (run.spool / STATE).unlink()
    assert sync_run(run.path, database_uri).points == 60
    assert_once(database_uri, run, 30)


def test_another_store_gets_everything(run: RunDirectory, database_uri: str, tmp_path: Path) -> None:
    train(run, 1, 5)
    sync_run(run.path, database_uri)
    other = tmp_path / "other.db"
    other.write_bytes(Path(database_uri.removeprefix("sqlite:///")).read_bytes())
    from mlflow import MlflowClient

    MlflowClient(f"sqlite:///{other}").delete_run(stored_run(database_uri, run).info.run_id)
    assert sync_run(run.path, f"sqlite:///{other}").points == 10
    assert_once(f"sqlite:///{other}", run, 5)


def test_a_store_that_was_restored_from_a_backup_gets_what_it_lacks(run: RunDirectory, database_uri: str) -> None:
    """Its run has the same name in MLflow, and only a part of what was delivered to it."""
    database = Path(database_uri.removeprefix("sqlite:///"))
    train(run, 1, 5)
    sync_run(run.path, database_uri)
    backup = database.read_bytes()
    train(run, 6, 10, end="finished")
    assert sync_run(run.path, database_uri).points == 10
    assert stored_run(database_uri, run).data.tags[DELIVERED_TAG] == str(
        sum(path.stat().st_size for path in run.spool.glob("*.jsonl"))
    )
    database.write_bytes(backup)
    assert sync_run(run.path, database_uri).warning is None
    assert_once(database_uri, run, 10)
    assert stored_run(database_uri, run).info.status == "FINISHED"
    assert sync_run(run.path, database_uri).points == 0


def test_a_damaged_state_is_named(run: RunDirectory, database_uri: str) -> None:
    train(run, 1, 2)
    sync_run(run.path, database_uri)
    document = json.loads((run.spool / STATE).read_text())
    (run.spool / STATE).write_text(json.dumps({**document, "offsets": 3}))
    with pytest.raises(DataError, match="offsets") as raised:
        sync_run(run.path, database_uri)
    assert raised.value.fix.startswith(f"rm {run.spool / STATE}")


def test_a_repeated_value_that_differs_is_shown(run: RunDirectory, database_uri: str) -> None:
    train(run, 1, 5)
    with Spool(run.spool, run.new_attempt()) as spool:
        for step in (4, 5):
            spool.metrics({"loss": -1.0, "lr": value_at("lr", step)}, step)
    report = sync_run(run.path, database_uri)
    assert report.differences == {"loss": 2}
    assert_once(database_uri, run, 5)
    assert stored_run(database_uri, run).data.tags["trackyard.repeated_steps_differ"] == '{"loss": 2}'


def test_the_status_follows_the_newest_attempt(run: RunDirectory, database_uri: str) -> None:
    seen = []
    for end in ("stopped", "failed", None, "finished"):
        train(run, 1, 2, end=end)
        sync_run(run.path, database_uri)
        seen.append(stored_run(database_uri, run).info.status)
    assert seen == ["SCHEDULED", "FAILED", "RUNNING", "FINISHED"]


def test_only_small_files_of_the_run_are_shown(run: RunDirectory, database_uri: str, tmp_path: Path) -> None:
    (tmp_path / "private").write_text("x")
    (run.path / "link").symlink_to(tmp_path / "private")
    (run.path / "large").write_bytes(b"x" * (LARGEST_ARTIFACT + 1))
    (run.path / "small").write_text("x")
    names = ["../../../../private", "link", "large", "absent", "small"]
    with train(run, 1, 1) as spool:
        for name in names:
            spool.artifact(name)
    report = sync_run(run.path, database_uri)
    assert report.skipped_artifacts == [*names[:2], "absent"]
    assert report.referenced == ["large"]
    kept = Path(stored_run(database_uri, run).info.artifact_uri)
    assert sorted(path.name for path in kept.rglob("*")) == ["references.json", "small", "spec.json"]
    assert json.loads((kept / "references.json").read_text()) == [
        {"path": "large", "bytes": LARGEST_ARTIFACT + 1, "blake3": digest_file(run.path / "large")}
    ]


def test_no_secret_arrives(run: RunDirectory, database_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    canary = "canary" * 3
    monkeypatch.setenv("MY_TOKEN", canary)
    with train(run, 1, 2) as spool:
        spool.tag(canary, canary)
        spool.dataset("charts", canary, canary, canary)
        spool.metrics({canary: 1.0}, 1)
    sync_run(run.path, database_uri)
    database = Path(database_uri.removeprefix("sqlite:///"))
    data = b"".join(path.read_bytes() for path in database.parent.rglob("*") if path.is_file())
    assert run.spec.run_id.encode() in data
    assert canary.encode() not in data


def test_points_that_the_store_refuses_are_counted_tagged_and_reported(
    run: RunDirectory, database_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = TrackingStore.points

    def without_lr(self: TrackingStore, stored: Any, points: Any) -> dict[str, int]:
        kept = [point for point in points if point.key != "lr"]
        real(self, stored, kept)
        return {"lr": len(points) - len(kept)}

    monkeypatch.setattr(TrackingStore, "points", without_lr)
    train(run, 1, 5)
    report = sync_run(run.path, database_uri)
    assert (report.points, report.refused, report.warning) == (5, {"lr": 5}, None)
    assert stored_run(database_uri, run).data.tags["trackyard.refused_metrics"] == '{"lr": 5}'
    assert sync_run(run.path, database_uri).refused == {"lr": 5}
    ((pending,), _) = pending_runs(run.root, database_uri)
    assert (pending.delivered, pending.refused, pending.pending) == (5, 5, 0)


def test_a_run_that_was_delivered_is_passed_over_until_it_changes(
    tmp_path: Path, database_uri: str, spec_of: Callable[..., RunSpec]
) -> None:
    run = open_or_create(tmp_path / "runs", spec_of(parent=None))
    train(run, 1, 3, end="finished")
    assert len(sync_all(run.root, database_uri, only_changed=True)) == 1
    assert sync_all(run.root, database_uri, only_changed=True) == []
    # Another store has nothing of it; and whoever asks for everything gets it.
    other = tmp_path / "other.db"
    other.write_bytes(Path(database_uri.removeprefix("sqlite:///")).read_bytes())
    assert len(sync_all(run.root, f"sqlite:///{other}", only_changed=True)) == 1
    assert len(sync_all(run.root, database_uri)) == 1
    train(run, 4, 4, end="finished")
    (report,) = sync_all(run.root, database_uri, only_changed=True)
    assert report.points == 2


def test_what_is_spooled_during_a_delivery_is_not_passed_over(
    tmp_path: Path, database_uri: str, spec_of: Callable[..., RunSpec], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The training takes its last steps after its spool was read, and before the delivery ends."""
    run = open_or_create(tmp_path / "runs", spec_of(parent=None))
    spool = train(run, 1, 3)
    real = TrackingStore.artifact

    def last_steps(self: TrackingStore, *arguments: Any) -> None:
        if not spooled:
            spool.metrics({key: value_at(key, 4) for key in KEYS}, 4)
            spool.status("finished")
            spooled.append(4)
        real(self, *arguments)

    spooled: list[int] = []
    monkeypatch.setattr(TrackingStore, "artifact", last_steps)
    assert sync_all(run.root, database_uri, only_changed=True)[0].points == 6
    assert spooled == [4]
    assert [report.points for report in sync_all(run.root, database_uri, only_changed=True)] == [2]
    assert_once(database_uri, run, 4)
    assert stored_run(database_uri, run).info.status == "FINISHED"
    assert sync_all(run.root, database_uri, only_changed=True) == []


def test_one_sync_at_a_time(run: RunDirectory, database_uri: str) -> None:
    train(run, 1, 1)
    with exclusive(run.root / LOCK, what="the sync", why="test"):
        for sync in (lambda: sync_run(run.path, database_uri), lambda: sync_all(run.root, database_uri)):
            with pytest.raises(TrackyardError, match=f"the sync of {run.root} is in use by process {os.getpid()}"):
                sync()


def test_one_bad_run_does_not_hold_up_the_others(
    tmp_path: Path, database_uri: str, spec_of: Callable[..., RunSpec]
) -> None:
    runs = [open_or_create(tmp_path / "runs", spec_of(seed=seed)) for seed in range(3)]
    for run in runs:
        train(run, 1, 2)
    (runs[1].path / "spec.json").write_text("{")
    reports = {report.run_id: report for report in sync_all(tmp_path / "runs", database_uri)}
    assert [reports[run.spec.run_id].points for run in runs] == [4, 0, 4]
    assert isinstance(reports[runs[1].spec.run_id].warning, DataError)
    assert not reports[runs[1].spec.run_id].unreachable
    assert sync_all(tmp_path / "nothing", database_uri) == []


def test_a_run_whose_files_cannot_be_read_does_not_hold_up_the_others(
    tmp_path: Path, database_uri: str, spec_of: Callable[..., RunSpec]
) -> None:
    root = tmp_path / "runs"
    runs = [open_or_create(root, spec_of(seed=seed, parent=None)) for seed in range(4)]
    for run in runs:
        train(run, 1, 2, end="finished")
    sync_all(root, database_uri)
    for run in runs:
        train(run, 3, 3, end="finished")
    good, state, spool, spec = runs
    (state.spool / STATE).write_text("{")
    (spool.spool / "attempt-0003.jsonl").mkdir()
    (spec.path / "spec.json").unlink()
    (spec.path / "spec.json").mkdir()
    for only_changed in (True, False):
        reports = {item.run_id: item for item in sync_all(root, database_uri, only_changed=only_changed)}
        assert isinstance(reports[state.spec.run_id].warning, DataError)
        for run in (spool, spec):
            warning = reports[run.spec.run_id].warning
            assert isinstance(warning, EnvironmentLacking)
            assert str(run.path) in warning.what
        found = {item.path.rpartition("/")[2]: item.why for item in pending_runs(root, database_uri)[0]}
        assert [bool(found[run.spec.run_id]) for run in runs] == [False, True, True, True]
        assert_once(database_uri, good, 3)


@pytest.mark.parametrize(("failing", "tried"), [({1}, 4), ({1, 3}, 4), ({0, 1}, 2), ({3}, 4)])
def test_a_run_that_the_store_fails_on_does_not_hold_up_the_others_and_a_store_that_fails_does(
    tmp_path: Path,
    database_uri: str,
    spec_of: Callable[..., RunSpec],
    monkeypatch: pytest.MonkeyPatch,
    failing: set[int],
    tried: int,
) -> None:
    runs = [open_or_create(tmp_path / "runs", spec_of(seed=seed, parent=None)) for seed in range(4)]
    runs.sort(key=lambda run: run.path)
    for run in runs:
        train(run, 1, 1)
    ids = [run.spec.run_id for run in runs]
    seen: list[str] = []
    real = TrackingStore.run

    def sometimes(self: TrackingStore, **named: Any) -> Any:
        seen.append(named["run_id"])
        if ids.index(named["run_id"]) in failing:
            raise unreachable(database_uri, "500")
        return real(self, **named)

    monkeypatch.setattr(TrackingStore, "run", sometimes)
    reports = sync_all(tmp_path / "runs", database_uri)
    assert seen == ids[:tried]
    assert [report.run_id for report in reports] == ids
    assert [report.unreachable for report in reports] == [n in failing or n >= tried for n in range(4)]
    assert [bool(item.why) for item in pending_runs(tmp_path / "runs", database_uri)[0]] == [
        item.unreachable for item in reports
    ]


def test_artifacts_that_the_store_cannot_take_hold_up_no_points(
    tmp_path: Path, database_uri: str, spec_of: Callable[..., RunSpec]
) -> None:
    """The place that the server names for them is a path of its own, which cannot be written here."""
    (tmp_path / "file").write_text("")
    TrackingStore(database_uri).client.create_experiment("molmo2", artifact_location=f"{tmp_path}/file/artifacts")
    runs = [open_or_create(tmp_path / "runs", spec_of(seed=seed, parent=None)) for seed in range(2)]
    for run in runs:
        train(run, 1, 2, end="finished")
    for report in sync_all(tmp_path / "runs", database_uri):
        assert isinstance(report.warning, Refused)
        assert "artifacts of the MLflow run" in report.warning.what
        assert report.points == 4
    for run in runs:
        assert_once(database_uri, run, 2)
        assert stored_run(database_uri, run).info.status == "FINISHED"


def test_a_group_that_is_deleted_meanwhile_is_reported(
    tmp_path: Path, database_uri: str, spec_of: Callable[..., RunSpec], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by another machine, which made one of two groups of one name."""
    run = open_or_create(tmp_path / "runs", spec_of(parent=None))
    with train(run, 1, 2) as spool:
        spool.tag("trackyard.group", "study")
        spool.status("finished")
    real = TrackingStore.artifact

    def deleting(self: TrackingStore, stored: Any, *arguments: Any) -> None:
        self.client.delete_run(stored_run(database_uri, run).data.tags["mlflow.parentRunId"])
        real(self, stored, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(TrackingStore, "artifact", deleting)
        (report,) = sync_all(run.root, database_uri)
    assert isinstance(report.warning, RunGone)
    assert pending_runs(run.root, database_uri)[0][0].why == report.warning.what
    # As it says: a whole sync hangs the run where it belongs.
    assert sync_all(run.root, database_uri)[0].warning is None
    parent = TrackingStore(database_uri).client.get_run(stored_run(database_uri, run).data.tags["mlflow.parentRunId"])
    assert (parent.info.lifecycle_stage, parent.info.status) == ("active", "FINISHED")


def test_an_absent_server_costs_at_most_five_seconds_and_no_point(run: RunDirectory, database_uri: str) -> None:
    train(run, 1, 3)
    uri = f"http://127.0.0.1:{free_port()}"
    started = time.monotonic()
    report, (of_all,) = sync_run(run.path, uri), sync_all(run.root, uri)
    assert time.monotonic() - started < 5.0
    for found in (report, of_all):
        assert found.unreachable
        assert "stay in the run's spool" in str(found.warning)
    assert sync_run(run.path, database_uri).points == 6


@pytest.mark.system
def test_a_server_that_comes_goes_and_comes_back_gets_every_point_once(run: RunDirectory, database_uri: str) -> None:
    port = free_port()
    uri = f"http://127.0.0.1:{port}"
    train(run, 1, 10)
    assert sync_run(run.path, uri).unreachable
    database = Path(database_uri.removeprefix("sqlite:///"))
    with mlflow_server(database, port):
        assert sync_run(run.path, uri).points == 20
        assert sync_run(run.path, uri).points == 0
        train(run, 6, 20)
        # It goes away between two batches: what it took is known, the rest stays.
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(points_module, "BATCH", 4)
            real, calls = TrackingStore.points, []

            def failing(self: Any, stored: Any, points: Any) -> Any:
                calls.append(len(points))
                if len(calls) == 4:
                    patch.setattr(self.client._tracking_client.store, "get_host_creds", _nowhere)
                return real(self, stored, points)

            patch.setattr(TrackingStore, "points", failing)
            report = sync_run(run.path, uri)
        assert report.unreachable
        assert 0 < report.points < 20
        origin = urllib.request.Request(f"{uri}/api/2.0/mlflow/experiments/search", headers={"Host": "evil.example"})
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(origin, timeout=5)
    assert sync_run(run.path, uri).unreachable
    train(run, 16, 22, end="finished")
    with mlflow_server(database, port):
        assert sync_run(run.path, uri).warning is None
    assert_once(database_uri, run, 22)
    assert stored_run(database_uri, run).info.status == "FINISHED"


def _nowhere() -> Any:
    from mlflow.utils.rest_utils import MlflowHostCreds

    return MlflowHostCreds(f"http://127.0.0.1:{free_port()}")


def test_the_default_place_is_beside_the_code(run: RunDirectory, tmp_path: Path) -> None:
    train(run, 1, 1)
    assert sync_run(run.path, tracking_uri(tmp_path, {})).points == 2
    assert (tmp_path / "mlflow.db").is_file()
    assert (tmp_path / "mlartifacts" / "molmo2").is_dir()
