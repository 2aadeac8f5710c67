"""How far delivery is, from files alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from trackyard.launch.processes import free_port
from trackyard.record.identity import RunSpec
from trackyard.record.rundir import RunDirectory, open_or_create
from trackyard.record.spool import Spool
from trackyard.record.tracking.pending import pending_runs
from trackyard.record.tracking.sync import sync_all


def spooled(run: RunDirectory, first: int, last: int) -> None:
    with Spool(run.spool, run.new_attempt()) as spool:
        for step in range(first, last + 1):
            spool.metrics({"a": 1.0, "b": 2.0}, step)


def test_what_is_left_and_why(run: RunDirectory, database_uri: str) -> None:
    spooled(run, 1, 5)
    (before,), last = pending_runs(run.root, database_uri)
    assert (before.spooled, before.delivered, before.pending, before.at_ms, last) == (10, 0, 10, 0, None)
    assert before.why == "no sync has run here"
    sync_all(run.root, database_uri)
    (synced,), last = pending_runs(run.root, database_uri)
    assert (synced.spooled, synced.delivered, synced.pending, synced.why) == (10, 10, 0, "")
    assert synced.store == database_uri
    assert last is not None
    assert last.at_ms >= synced.at_ms > 0
    # A repeated step is no other point; a torn line is none yet.
    spooled(run, 4, 7)
    path = run.spool / "attempt-0002.jsonl"
    path.write_bytes(path.read_bytes()[:-4])
    (later,), _ = pending_runs(run.root, database_uri)
    assert (later.spooled, later.delivered, later.pending, later.torn) == (12, 10, 2, 1)
    away = f"http://127.0.0.1:{free_port()}"
    sync_all(run.root, away)
    (behind,), last = pending_runs(run.root, database_uri)
    assert behind == replace(later, why=f"the last sync here was not to {database_uri}")
    # What another store has is not there: all of it waits.
    (elsewhere,), last = pending_runs(run.root, away)
    assert (elsewhere.spooled, elsewhere.delivered, elsewhere.pending, elsewhere.store) == (12, 0, 12, "")
    assert last is not None
    assert elsewhere.why == last.why
    assert "refused" in elsewhere.why


def test_a_run_that_cannot_be_read_says_why(tmp_path: Path, spec_of: Callable[..., RunSpec], database_uri: str) -> None:
    root = tmp_path / "runs"
    good, bad = (open_or_create(root, spec_of(seed=seed)) for seed in (1, 2))
    spooled(good, 1, 1)
    (bad.path / "spec.json").write_text("{")
    sync_all(root, database_uri)
    found = {item.path.rpartition("/")[2]: item for item in pending_runs(root, database_uri)[0]}
    assert found[good.spec.run_id].why == ""
    assert "not valid JSON" in found[bad.spec.run_id].why


def test_a_password_of_the_store_is_not_written_down(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    spooled(run, 1, 1)
    password = "pw" * 6
    sync_all(run.root, f"http://u:{password}@127.0.0.1:{free_port()}")
    written = b"".join(path.read_bytes() for path in run.root.rglob("*") if path.is_file())
    assert b"[redacted]@127.0.0.1" in written
    assert password.encode() not in written
