"""Which run hangs under which: groups, forks, and parents that arrive later."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from trackyard.record.identity import RunSpec
from trackyard.record.rundir import RunDirectory, open_or_create
from trackyard.record.spool import Spool, SpoolPart
from trackyard.record.tracking.sync import sync_all
from trackyard.record.tracking.tree import group_of

SpecOf = Callable[..., RunSpec]


def trained(run: RunDirectory, *, group: str | None = None, end: str | None = "finished") -> RunDirectory:
    with Spool(run.spool, run.new_attempt()) as spool:
        spool.metrics({"train/loss": 1.0}, 1)
        if group:
            spool.tag("trackyard.group", group)
        if end:
            spool.status(end)  # type: ignore[arg-type]
    return run


def tree(uri: str, track: str = "molmo2") -> dict[str, tuple[str | None, str]]:
    """By name of each run: the name of its parent, and its status."""
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    found = client.search_runs([client.get_experiment_by_name(track).experiment_id])
    names = {item.info.run_id: item.info.run_name for item in found}
    assert len(set(names.values())) == len(names)
    return {
        item.info.run_name: (names.get(item.data.tags.get("mlflow.parentRunId", "")), item.info.status)
        for item in found
    }


def name(run: RunDirectory) -> str:
    return f"{run.spec.stage} · {run.spec.run_id}"


def test_a_fork_hangs_under_its_parent_whichever_comes_first(
    tmp_path: Path, spec_of: SpecOf, database_uri: str
) -> None:
    root = tmp_path / "runs"
    first = spec_of(stage="stage1", parent=None)
    fork = trained(open_or_create(root, spec_of(stage="stage2", parent=first.run_id)))
    sync_all(root, database_uri)
    assert tree(database_uri) == {name(fork): (None, "FINISHED")}
    # Of what has not changed only what hangs nowhere yet is looked at again.
    parent = trained(open_or_create(root, first))
    other = trained(open_or_create(root, spec_of(stage="stage3", parent=fork.spec.run_id)))
    reports = sync_all(root, database_uri, only_changed=True)
    assert {report.run_id for report in reports} == {run.spec.run_id for run in (fork, parent, other)}
    assert tree(database_uri) == {
        name(parent): (None, "FINISHED"),
        name(fork): (name(parent), "FINISHED"),
        name(other): (name(fork), "FINISHED"),
    }
    assert sync_all(root, database_uri, only_changed=True) == []


def test_a_group_wins_over_a_parent_and_follows_its_members(tmp_path: Path, spec_of: SpecOf, database_uri: str) -> None:
    root = tmp_path / "runs"
    start = trained(open_or_create(root, spec_of(stage="untouched", parent=None)))
    arms = [
        trained(
            open_or_create(root, spec_of(stage="train", parent=start.spec.run_id, seed=seed)),
            group=f"study ab12/arm {arm}",
            end=end,
        )
        for seed, arm, end in ((1, "baseline", "finished"), (2, "baseline", None), (3, "control", "finished"))
    ]
    sync_all(root, database_uri)
    expected: dict[str, Any] = {
        "study ab12": (None, "RUNNING"),
        "arm baseline": ("study ab12", "RUNNING"),
        "arm control": ("study ab12", "FINISHED"),
        name(start): (None, "FINISHED"),
        name(arms[0]): ("arm baseline", "FINISHED"),
        name(arms[1]): ("arm baseline", "RUNNING"),
        name(arms[2]): ("arm control", "FINISHED"),
    }
    assert tree(database_uri) == expected
    trained(arms[1])
    for only_changed in (True, False):
        sync_all(root, database_uri, only_changed=only_changed)
        assert tree(database_uri) == expected | {
            "study ab12": (None, "FINISHED"),
            "arm baseline": ("study ab12", "FINISHED"),
            name(arms[1]): ("arm baseline", "FINISHED"),
        }
    from mlflow import MlflowClient

    client = MlflowClient(database_uri)
    (arm,) = client.search_runs(
        [client.get_experiment_by_name("molmo2").experiment_id], f"tags.`trackyard.run_id` = '{arms[0].spec.run_id}'"
    )
    assert arm.data.tags["trackyard.parent_run"] == start.spec.run_id
    assert arm.data.tags["trackyard.group"] == "study ab12/arm baseline"


def test_the_last_group_that_is_named_counts() -> None:
    def parts(*groups: str) -> dict[str, SpoolPart]:
        events = [(n, {"event": "tag", "values": {"trackyard.group": group}}) for n, group in enumerate(groups)]
        return {"attempt-0001.jsonl": SpoolPart(events=events, end=1, torn=0, damaged=0)}

    assert group_of(parts()) is None
    assert group_of(parts("a", " b / c/ ")) == "b/c"
    assert group_of(parts("a", "")) is None
