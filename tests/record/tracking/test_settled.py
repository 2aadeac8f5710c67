"""A run is settled until one of the files changes that a delivery of it reads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.record.tracking.test_registry import EXPORT, SpecOf, committed, exported
from trackyard.record.lineage.origins import NO_PLAN
from trackyard.record.rundir import RunDirectory, open_or_create
from trackyard.record.spool import Spool
from trackyard.record.tracking.artifacts import LARGEST_ARTIFACT
from trackyard.record.tracking.settled import is_settled
from trackyard.record.tracking.sync import sync_all


def delivered(repository: Path, spec_of: SpecOf, uri: str, *, model: bool) -> RunDirectory:
    """A run with a small and a large file, and an export if it is of a `model`; all of it delivered."""
    run = open_or_create(repository / "runs", spec_of(plan=NO_PLAN, snapshots={}, model={}, parent=None))
    (run.path / "small").write_text("x")
    (run.path / "large").write_bytes(b"x" * (LARGEST_ARTIFACT + 1))
    with Spool(run.spool, run.new_attempt()) as spool:
        for name in ("small", "large"):
            spool.artifact(name)
        if model:
            spool.model("molmo2-stage2", EXPORT)
        spool.status("finished")
    exported(repository, run.spec)
    committed(repository)
    (report,) = sync_all(run.root, uri)
    assert report.warning is None
    assert is_settled(run, uri)
    return run


def appended(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"\n")


@pytest.mark.parametrize(
    "change",
    [
        lambda run: appended(run.spool / "attempt-0001.jsonl"),
        lambda run: Spool(run.spool, run.new_attempt()).close(),
        lambda run: appended(run.path / "small"),
        lambda run: appended(run.path / "large"),
        lambda run: (run.path / "small").unlink(),
        lambda run: (run.spool / "synced.json").unlink(),
    ],
)
def test_what_a_delivery_reads_unsettles_it(
    tmp_path: Path, spec_of: SpecOf, database_uri: str, change: Callable[[RunDirectory], object]
) -> None:
    run = delivered(tmp_path, spec_of, database_uri, model=False)
    change(run)
    assert not is_settled(run, database_uri)


def test_another_store_knows_nothing_of_it(tmp_path: Path, spec_of: SpecOf, database_uri: str) -> None:
    run = delivered(tmp_path, spec_of, database_uri, model=False)
    assert not is_settled(run, "http://127.0.0.1:9")


@pytest.mark.parametrize("model", [True, False])
@pytest.mark.parametrize("name", ["dvc.lock", f"{EXPORT}/lineage.json"])
def test_what_dvc_tracks_counts_for_a_model(
    tmp_path: Path, spec_of: SpecOf, database_uri: str, name: str, *, model: bool
) -> None:
    run = delivered(tmp_path, spec_of, database_uri, model=model)
    appended(tmp_path / name)
    assert is_settled(run, database_uri) is not model
