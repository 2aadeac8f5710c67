"""A resume keeps the run and adds an attempt, which holds its machine and what that measured."""

from __future__ import annotations

from typing import Any

import pytest

from trackyard.record.rundir import RunDirectory
from trackyard.record.spool import Spool
from trackyard.record.tracking.attempts import machines
from trackyard.record.tracking.reading import Reading
from trackyard.record.tracking.sync import Readings, sync_all, sync_run


def attempt(run: RunDirectory, first: int, last: int, *, host: str = "n1", end: str | None = None) -> None:
    """An attempt of steps first..last; end: "done" for the last step of the training, or a status."""
    with Spool(run.spool, run.new_attempt()) as spool:
        spool.machine(2, "H100", host)
        for step in range(first, last + 1):
            spool.metrics({"train/loss": 1 / step, "system/energy_joules": float(10 * (step - first + 1))}, step)
        if end == "done":
            spool.machine_done()
        elif end:
            spool.status(end)  # type: ignore[arg-type]


def stored(uri: str, run: RunDirectory) -> tuple[Any, list[Any]]:
    """The MLflow run of `run`, and its children by name."""
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    found = client.search_runs([client.get_experiment_by_name(run.spec.track).experiment_id])
    (own,) = [item for item in found if item.data.tags.get("trackyard.run_id") == run.spec.run_id]
    children = [item for item in found if item.data.tags.get("mlflow.parentRunId") == own.info.run_id]
    return own, sorted(children, key=lambda item: item.info.run_name)


def energy(uri: str, mlflow_run: Any) -> list[tuple[int, float]]:
    from mlflow import MlflowClient

    points = MlflowClient(uri).get_metric_history(mlflow_run.info.run_id, "system/energy_joules")
    return sorted((point.step, point.value) for point in points)


def test_a_resume_keeps_the_run_and_adds_an_attempt(run: RunDirectory, database_uri: str) -> None:
    attempt(run, 1, 3)
    sync_run(run.path, database_uri)
    own, (only,) = stored(database_uri, run)
    assert (own.info.status, only.info.status, only.info.end_time) == ("RUNNING", "RUNNING", None)
    attempt(run, 3, 5, host="n2", end="done")
    with Spool(run.spool, run.new_attempt()) as spool:
        spool.metrics({"validation/loss": 0.5}, 5)
        spool.status("finished")
    for _ in range(2):
        sync_run(run.path, database_uri)
    own, (first, second) = stored(database_uri, run)
    assert own.info.status == "FINISHED"
    assert (first.info.run_name, second.info.run_name) == ("attempt 1 on n1", "attempt 2 on n2")
    assert (first.info.status, second.info.status) == ("KILLED", "FINISHED")
    assert first.info.end_time >= first.info.start_time
    assert second.info.end_time >= second.info.start_time
    expected = {
        "trackyard.kind": "attempt",
        "trackyard.attempt": f"{run.spec.run_id}/2",
        "trackyard.host": "n2",
        "trackyard.world": "2",
        "trackyard.device": "H100",
        "trackyard.first_step": "3",
        "trackyard.last_step": "5",
    }
    assert expected.items() <= second.data.tags.items()
    assert "trackyard.run_id" not in second.data.tags
    # Each attempt has its own energy, also of the step that both took; the run has each step once.
    assert energy(database_uri, first) == [(1, 10.0), (2, 20.0), (3, 30.0)]
    assert energy(database_uri, second) == [(3, 10.0), (4, 20.0), (5, 30.0)]
    assert energy(database_uri, own) == [(1, 10.0), (2, 20.0), (3, 30.0), (4, 20.0), (5, 30.0)]
    assert set(second.data.metrics) == {"system/energy_joules"}


@pytest.mark.parametrize(("end", "status"), [("stopped", "KILLED"), ("failed", "FAILED"), ("done", "FINISHED")])
def test_how_an_attempt_ended(run: RunDirectory, end: str, status: str) -> None:
    attempt(run, 1, 2, end=end)
    reading = Reading()
    reading.read_on(run.spool)
    (machine,) = machines(reading)
    assert machine.status == status
    assert machine.ended_ms is not None


def test_an_attempt_without_a_machine_is_no_run_of_its_own(run: RunDirectory, database_uri: str) -> None:
    with Spool(run.spool, run.new_attempt()) as spool:
        spool.metrics({"train/loss": 1.0, "system/cpu_share": 0.5}, 1)
        spool.status("finished")
    sync_run(run.path, database_uri)
    own, children = stored(database_uri, run)
    assert (children, own.data.metrics["system/cpu_share"]) == ([], 0.5)


def test_an_attempt_that_was_deleted_comes_back_whole(run: RunDirectory, database_uri: str) -> None:
    from mlflow import MlflowClient

    readings: Readings = {}
    attempt(run, 1, 3)
    sync_all(run.root, database_uri, readings=readings)
    _, (only,) = stored(database_uri, run)
    MlflowClient(database_uri).delete_run(only.info.run_id)
    with Spool(run.spool, run.new_attempt()) as spool:
        spool.tag("note", "later")
    sync_all(run.root, database_uri, readings=readings)
    _, (again,) = stored(database_uri, run)
    assert again.info.run_id != only.info.run_id
    assert energy(database_uri, again) == [(1, 10.0), (2, 20.0), (3, 30.0)]
