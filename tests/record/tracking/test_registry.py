"""A version for each export that DVC tracks, and for nothing else."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from trackyard.errors import DataError
from trackyard.record.identity import RunSpec
from trackyard.record.lineage.document import write_lineage
from trackyard.record.lineage.origins import NO_PLAN, Origins
from trackyard.record.rundir import RunDirectory, open_or_create
from trackyard.record.spool import Spool
from trackyard.record.tracking.registry import tracked_exports
from trackyard.record.tracking.sync import sync_all

SpecOf = Callable[..., RunSpec]
EXPORT = "artifacts/molmo2/stage2/export"


def exported(repository: Path, spec: RunSpec) -> None:
    """An export that the run of `spec` made."""
    export = repository / EXPORT
    export.mkdir(parents=True, exist_ok=True)
    (export / "model.safetensors").write_bytes(b"weights")
    origins = Origins(root=repository, spec=spec, plan=None, snapshots={}, models={}, parent=None)
    write_lineage(export, origins, files=["model.safetensors"])


def committed(repository: Path, out: str = EXPORT, *, lock: str = "dvc.lock") -> str:
    """What `dvc repro` leaves of the export: its listing in the cache, and its digest in dvc.lock."""
    lineage = repository / EXPORT / "lineage.json"
    digest = hashlib.md5(lineage.read_bytes(), usedforsecurity=False).hexdigest()
    listing = json.dumps([{"md5": digest, "relpath": lineage.relative_to(repository / out).as_posix()}])
    md5 = hashlib.md5(listing.encode(), usedforsecurity=False).hexdigest() + ".dir"
    cached = repository / ".dvc" / "cache" / "files" / "md5" / md5[:2] / md5[2:]
    cached.parent.mkdir(parents=True, exist_ok=True)
    cached.write_text(listing)
    (repository / lock).parent.mkdir(parents=True, exist_ok=True)
    (repository / lock).write_text(yaml.safe_dump({"stages": {"stage2": {"outs": [{"path": out, "md5": md5}]}}}))
    return md5


def versions(uri: str) -> list[Any]:
    from mlflow import MlflowClient

    return sorted(MlflowClient(uri).search_model_versions("name = 'molmo2-stage2'"), key=lambda item: int(item.version))


@pytest.fixture
def recorded(tmp_path: Path, spec_of: SpecOf) -> RunDirectory:
    run = open_or_create(tmp_path / "runs", spec_of(plan=NO_PLAN, snapshots={}, model={}, parent=None))
    with Spool(run.spool, run.new_attempt()) as spool:
        spool.model("molmo2-stage2", EXPORT)
        spool.status("finished")
    return run


def test_a_version_once_dvc_has_the_export(recorded: RunDirectory, tmp_path: Path, database_uri: str) -> None:
    def sync() -> list[str]:
        return [name for item in sync_all(recorded.root, database_uri, only_changed=True) for name in item.registered]

    run_id = recorded.spec.run_id
    assert sync() == []
    exported(tmp_path, recorded.spec)
    assert sync() == []
    md5 = committed(tmp_path)
    assert sync() == ["molmo2-stage2"]
    assert sync() == []
    sync_all(recorded.root, database_uri)
    (recorded.spool / "synced.json").unlink()
    sync_all(recorded.root, database_uri)
    (only,) = versions(database_uri)
    assert only.source == f"dvc://{EXPORT}?md5={md5}"
    assert only.tags == {
        "trackyard.dvc_md5": md5,
        "trackyard.path": EXPORT,
        "trackyard.run_id": run_id,
        "mlflow.source.git.commit": "d" * 40,
    }
    from mlflow import MlflowClient

    assert MlflowClient(database_uri).get_run(only.run_id).data.tags["trackyard.run_id"] == run_id


def test_two_machines_at_once_make_one_version(
    recorded: RunDirectory, tmp_path: Path, database_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both make one, both see two, and the other one is faster at deleting the second."""
    from mlflow import MlflowClient

    create, delete = MlflowClient.create_model_version, MlflowClient.delete_model_version

    def twice(self: Any, *arguments: Any, **named: Any) -> Any:
        create(self, *arguments, **named)
        return create(self, *arguments, **named)

    def slower(self: Any, *arguments: Any) -> None:
        delete(self, *arguments)
        delete(self, *arguments)

    monkeypatch.setattr(MlflowClient, "create_model_version", twice)
    monkeypatch.setattr(MlflowClient, "delete_model_version", slower)
    exported(tmp_path, recorded.spec)
    committed(tmp_path)
    (report,) = sync_all(recorded.root, database_uri)
    assert (report.warning, report.registered) == (None, ["molmo2-stage2"])
    assert [item.version for item in versions(database_uri)] == [1]


def test_an_export_of_another_run_or_not_committed_is_not_registered(recorded: RunDirectory, tmp_path: Path) -> None:
    models = {"molmo2-stage2": EXPORT}
    run_id = recorded.spec.run_id
    exported(tmp_path, recorded.spec)
    committed(tmp_path)
    assert len(tracked_exports(tmp_path, run_id, models)) == 1
    assert tracked_exports(tmp_path, "another", models) == []
    # dvc.lock still names the export of the run before.
    lineage = tmp_path / EXPORT / "lineage.json"
    lineage.write_bytes(lineage.read_bytes() + b"\n")
    assert tracked_exports(tmp_path, run_id, models) == []


def test_an_output_that_holds_the_export_counts_in_any_pipeline(recorded: RunDirectory, tmp_path: Path) -> None:
    exported(tmp_path, recorded.spec)
    md5 = committed(tmp_path, "artifacts/molmo2/stage2", lock="pipelines/nine/dvc.lock")
    (found,) = tracked_exports(tmp_path, recorded.spec.run_id, {"m": EXPORT})
    assert (found.path, found.md5) == ("artifacts/molmo2/stage2", md5)


def test_the_cache_may_lie_elsewhere(recorded: RunDirectory, tmp_path: Path) -> None:
    exported(tmp_path, recorded.spec)
    committed(tmp_path)
    (tmp_path / ".dvc" / "cache").rename(tmp_path / "shared")
    models, run_id = {"m": EXPORT}, recorded.spec.run_id
    assert tracked_exports(tmp_path, run_id, models) == []
    (tmp_path / ".dvc" / "config").write_text("[cache]\n    dir = ../shared\n")
    assert len(tracked_exports(tmp_path, run_id, models)) == 1
    (tmp_path / ".dvc" / "config.local").write_text("[cache")
    with pytest.raises(DataError, match="DVC cannot read its configuration"):
        tracked_exports(tmp_path, run_id, models)


@pytest.mark.parametrize("text", ["stages: [", "stages: 3", "stages: {a: {outs: [{md5: 1}]}}"])
def test_a_damaged_lock_is_named(recorded: RunDirectory, tmp_path: Path, text: str) -> None:
    (tmp_path / "dvc.lock").write_text(text)
    with pytest.raises(DataError, match=r"dvc\.lock cannot be read"):
        tracked_exports(tmp_path, recorded.spec.run_id, {})
