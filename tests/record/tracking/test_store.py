"""The store keeps one run of a name, takes what it can of a batch, and says which run is gone."""

from __future__ import annotations

from typing import Any

import pytest

from trackyard.record.tracking.server import (
    RUN_TAG,
    DatasetFact,
    OutOfTime,
    Patience,
    Point,
    StoredRun,
    Unreachable,
    Waiting,
)
from trackyard.record.tracking.store import CREATED_TAG, PARENT_TAG, Refused, RunGone, TrackingStore


@pytest.fixture
def store(database_uri: str) -> TrackingStore:
    return TrackingStore(database_uri)


def make(store: TrackingStore, run_id: str, **tags: str) -> StoredRun:
    """A run as another client would make it, whatever there is already."""
    experiment = store.experiment("molmo2")
    made = store.client.create_run(experiment, start_time=5, tags={RUN_TAG: run_id, **tags})
    return StoredRun(id=made.info.run_id, status="RUNNING", experiment=experiment)


def history(store: TrackingStore, run: StoredRun, key: str) -> list[tuple[int, int, float]]:
    return sorted((m.step, m.timestamp, m.value) for m in store.client.get_metric_history(run.id, key))


def the_run(store: TrackingStore, run_id: str = "abc") -> StoredRun:
    return store.run(experiment="molmo2", run_id=run_id, name="n", start_ms=5, tags={"t": "1"})


def test_an_experiment_that_somebody_else_creates_meanwhile_is_taken(
    store: TrackingStore, database_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = TrackingStore(database_uri)
    real = store.client.create_experiment

    def slower(*arguments: Any, **named: Any) -> Any:
        other.experiment("contested")
        return real(*arguments, **named)

    monkeypatch.setattr(store.client, "create_experiment", slower)
    assert store.experiment("contested") == other.experiment("contested")
    assert [e.name for e in store.client.search_experiments()].count("contested") == 1


def test_an_experiment_that_is_refused_is_not_taken_for_one_that_exists(store: TrackingStore) -> None:
    with pytest.raises(Refused):
        store.experiment("x" * 600)


def test_of_doubles_the_earliest_created_stays_with_what_the_others_hold(store: TrackingStore) -> None:
    late = make(store, "abc", **{CREATED_TAG: "2000", "only": "late"})
    early = make(store, "abc", **{CREATED_TAG: "1000", "only": "early"})
    child = make(store, "child", **{PARENT_TAG: late.id})
    store.points(early, [Point(key="loss", value=1.0, step=1, timestamp=1)])
    store.points(late, [Point(key="loss", value=value, step=step, timestamp=7) for step, value in ((1, 9.0), (2, 2.0))])
    store.points(late, [Point(key="accuracy", value=0.5, step=2, timestamp=7)])
    fact = DatasetFact(name="charts", digest="b" * 64, source="hub:x@1", context="training")
    store.describe(late, params={"lr": "1"}, tags={"more": "yes"}, datasets=[fact])
    assert the_run(store) == early
    assert [run.id for run in store.find(early.experiment, {RUN_TAG: "abc"})] == [early.id]
    assert history(store, early, "loss") == [(1, 1, 1.0), (2, 7, 2.0)]
    assert history(store, early, "accuracy") == [(2, 7, 0.5)]
    kept = store.client.get_run(early.id)
    assert kept.data.params == {"lr": "1"}
    assert {"only": "early", "more": "yes", CREATED_TAG: "1000"}.items() <= kept.data.tags.items()
    assert [item.dataset.name for item in kept.inputs.dataset_inputs] == ["charts"]
    assert store.client.get_run(child.id).data.tags[PARENT_TAG] == early.id
    assert store.client.get_run(late.id).info.lifecycle_stage == "deleted"
    assert the_run(store) == early


def test_doubles_of_one_moment_are_told_apart_by_their_ids(store: TrackingStore) -> None:
    made = [make(store, "abc", **{CREATED_TAG: "1000"}) for _ in range(3)]
    assert the_run(store).id == min(run.id for run in made)


def test_a_run_that_was_created_at_the_same_moment_elsewhere_becomes_one(
    store: TrackingStore, database_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both look, neither finds one, both create: whoever looks again makes one of them."""
    other = TrackingStore(database_uri)
    real = store.client.create_run
    theirs: list[StoredRun] = []

    def at_once(*arguments: Any, **named: Any) -> Any:
        made = real(*arguments, **named)
        theirs.append(make(other, "abc"))
        return made

    monkeypatch.setattr(store.client, "create_run", at_once)
    ours = the_run(store)
    assert the_run(other) == ours
    assert len(store.find(ours.experiment, {RUN_TAG: "abc"})) == 1


def test_a_metric_that_is_refused_does_not_hold_up_the_others(
    store: TrackingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trackyard.record.tracking import store as module

    monkeypatch.setattr(module, "store_key", lambda name: name)
    run = the_run(store)
    points = [
        Point(key=key, value=float(step), step=step, timestamp=step)
        for step in range(1, 41)
        for key in ("a", "b!", "c")
    ]
    assert store.points(run, points) == {"b!": 40}
    for key in ("a", "c"):
        assert history(store, run, key) == [(step, step, float(step)) for step in range(1, 41)]


def test_a_single_value_that_is_refused_is_left_out_alone(store: TrackingStore) -> None:
    run = the_run(store)
    points = [Point(key="a", value=float(step), step=step, timestamp=step) for step in range(1, 9)]
    points[3] = Point(key="a", value=4.0, step=4, timestamp=-1)
    assert store.points(run, points) == {"a": 1}
    assert [step for step, _, _ in history(store, run, "a")] == [1, 2, 3, 5, 6, 7, 8]


def test_what_is_deleted_is_gone_not_refused(store: TrackingStore) -> None:
    run = the_run(store)
    store.client.delete_run(run.id)
    with pytest.raises(RunGone, match=run.id):
        store.points(run, [Point(key="a", value=1.0, step=1, timestamp=1)])
    again = the_run(store)
    assert again.id != run.id


def test_a_store_that_takes_all_the_time_there_is_gives_way(database_uri: str) -> None:
    waiting = Waiting(patience=Patience(answer_s=30.0, total_s=60.0))
    store = TrackingStore(database_uri, waiting=waiting)
    store.find("0", {RUN_TAG: "abc"})
    waiting.began -= 60.0
    with pytest.raises(OutOfTime, match="60 s") as raised:
        store.find("0", {RUN_TAG: "abc"})
    assert isinstance(raised.value, Unreachable)
    assert "`trackyard record sync`" in raised.value.fix


def test_an_answer_gets_what_is_left_of_the_time_and_no_more() -> None:
    assert Waiting(patience=Patience(answer_s=120.0)).left_s() == 120.0
    half = Waiting(patience=Patience(answer_s=10.0, total_s=15.0))
    assert half.left_s() == 10.0
    half.began -= 9.0
    assert 5.0 < half.left_s() < 6.01


def test_a_group_name_with_quotes_is_found_again(store: TrackingStore) -> None:
    experiment = store.experiment("molmo2")
    one = store.one(experiment, {"trackyard.group": "it's \\ a 'study'"}, name="n", start_ms=1, tags={})
    assert store.one(experiment, {"trackyard.group": "it's \\ a 'study'"}, name="n", start_ms=1, tags={}) == one
