"""Progress is a newer complete checkpoint of the job's own runs, or more bytes of a stage without runs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from trackyard.launch.jobs.progress import mark, progressed
from trackyard.record.code import CodeIdentity
from trackyard.record.identity import RunSpec
from trackyard.record.rundir import JOB_VARIABLE, RunDirectory, open_or_create
from trackyard.train.checkpoint import COMPLETE, directory_name

MINE, OTHER = "graph-1/train-a", "graph-1/train-b"


def _run(root: Path, seed: int) -> RunDirectory:
    spec = RunSpec(
        track="toy", stage="train", parameters={}, plan="p", model={}, snapshots={}, parent=None,
        code=CodeIdentity(commit="0" * 40, dirty_digest=None), image=None, seed=seed,
    )  # fmt: skip
    return open_or_create(root / "runs", spec)


def _attempt(run: RunDirectory, job: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    if job is None:
        monkeypatch.delenv(JOB_VARIABLE, raising=False)
    else:
        monkeypatch.setenv(JOB_VARIABLE, job)
    assert run.new_attempt().job == job


def _checkpoint(run: RunDirectory, step: int, *, complete: bool = True) -> None:
    path = run.checkpoints / directory_name(step)
    path.mkdir()
    if complete:
        (path / COMPLETE).write_text("digest")


def test_a_newer_complete_checkpoint_is_progress(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = _run(tmp_path, 1)
    _checkpoint(run, 10)
    before = mark(tmp_path, "toy", None)
    _attempt(run, MINE, monkeypatch)
    assert not progressed(before, mark(tmp_path, "toy", None), MINE), "it was there before"
    _checkpoint(run, 20, complete=False)
    assert not progressed(before, mark(tmp_path, "toy", None), MINE), "half a checkpoint is none"
    _checkpoint(run, 15)
    assert progressed(before, mark(tmp_path, "toy", None), MINE)


def test_a_run_that_begins_in_this_life_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = mark(tmp_path, "toy", None)
    run = _run(tmp_path, 1)
    _attempt(run, MINE, monkeypatch)
    assert not progressed(before, mark(tmp_path, "toy", None), MINE)
    _checkpoint(run, 1)
    assert progressed(before, mark(tmp_path, "toy", None), MINE)


@pytest.mark.parametrize("whose", [OTHER, None])
def test_the_checkpoints_of_other_jobs_are_no_progress(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whose: str | None
) -> None:
    run = _run(tmp_path, 2)
    before = mark(tmp_path, "toy", None)
    _attempt(run, whose, monkeypatch)
    _checkpoint(run, 5)
    assert not progressed(before, mark(tmp_path, "toy", None), MINE)


def test_each_folder_is_looked_at_once_and_none_inside_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = _run(tmp_path, 1)
    _checkpoint(run, 10)
    (tmp_path / "runs/toy/accuracy").mkdir(parents=True)
    looked: list[Path] = []
    scan = os.scandir

    def scandir(path: Path | str) -> Any:
        looked.append(Path(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert mark(tmp_path, "toy", ()).steps == {run.path: 10}
    assert len(set(looked)) == len(looked)
    assert set(looked) >= {tmp_path / "runs/toy", tmp_path / "runs/toy/accuracy", run.path}
    assert not [path for path in looked if run.path in path.parents]


def test_a_stage_without_runs_is_measured_by_what_it_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results, kept = tmp_path / "runs/toy/accuracy/part.jsonl", tmp_path / "artifacts/images"
    before = mark(tmp_path, "toy", (kept,))
    results.parent.mkdir(parents=True)
    results.write_text("row\n")
    after = mark(tmp_path, "toy", (kept,))
    assert progressed(before, after, MINE)
    (results.parent / ".partial-x").write_text("half a row")
    (results.parent / ".lock").write_text("owner")
    run = _run(tmp_path, 1)
    _attempt(run, OTHER, monkeypatch)
    (run.path / "log.txt").write_text("words")
    assert not progressed(after, mark(tmp_path, "toy", (kept,)), MINE)
    kept.mkdir(parents=True)
    (kept / "0.tar").write_bytes(b"1")
    assert progressed(after, mark(tmp_path, "toy", (kept,)), MINE)
    assert not progressed(mark(tmp_path, "toy", None), mark(tmp_path, "toy", None), MINE)
    assert mark(tmp_path, None, None).steps == {}
