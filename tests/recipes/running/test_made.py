"""A run has its chain from its first moment; what it has made is recorded once, and never put out after an edit."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.recipes.running.tiny_job import TinyJob
from trackyard.errors import DataError
from trackyard.recipes.running.made import record_beginning, record_made
from trackyard.record.code import COMMIT_VARIABLE
from trackyard.record.lineage.document import LINEAGE, read_lineage
from trackyard.record.lineage.proof import prove
from trackyard.record.lineage.run_chain import run_chain
from trackyard.record.rundir import RunDirectory, open_or_create
from trackyard.schema import write_document


@pytest.fixture
def job(tmp_path: Path) -> TinyJob:
    return TinyJob(root=tmp_path)


def finished(job: TinyJob) -> RunDirectory:
    """A run directory as training and its work leave it."""
    directory = open_or_create(job.root / "runs", job.spec)
    record_beginning(job, directory)
    (directory.path / "final").mkdir()
    (directory.path / "final" / "model.safetensors").write_bytes(b"w")
    write_document(directory.result, "tiny/1", {})
    return directory


def test_a_run_is_recorded_when_it_begins_and_when_it_has_made_something(
    job: TinyJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(COMMIT_VARIABLE, "0" * 40)
    directory = finished(job)
    assert read_lineage(directory.path).files is None
    prove(run_chain(directory.path, job.root))
    record_made(job, directory)
    assert set(read_lineage(directory.path).files or {}) == {"result.json", "final/model.safetensors"}
    prove(run_chain(directory.path, job.root))
    before = (directory.path / LINEAGE).read_bytes()
    record_made(job, directory)
    assert (directory.path / LINEAGE).read_bytes() == before


def test_a_kill_between_result_and_record_loses_nothing(job: TinyJob) -> None:
    directory = finished(job)
    (directory.path / LINEAGE).unlink()
    record_made(job, directory)
    assert set(read_lineage(directory.path).files or {}) == {"result.json", "final/model.safetensors"}


def test_the_end_keeps_what_was_recorded_at_the_beginning(job: TinyJob) -> None:
    """Days may lie between, in which another run's export took the place of the parent's."""
    directory = finished(job)
    begun = read_lineage(directory.path)
    shutil.rmtree(job.root / "artifacts")
    record_made(job, directory)
    assert read_lineage(directory.path).model_copy(update={"files": None}) == begun


@pytest.mark.parametrize("name", ["final/model.safetensors", "result.json"])
def test_what_was_edited_is_not_put_out(job: TinyJob, name: str) -> None:
    directory = finished(job)
    record_made(job, directory)
    path = directory.path / name
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(DataError, match=f"{path.name} has blake3") as raised:
        record_made(job, directory)
    assert raised.value.fix.startswith(f"rm -r {directory.path / 'final'} {directory.result} {directory.lineage}")
