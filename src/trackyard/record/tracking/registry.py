"""Registered model versions in MLflow: names for exports that DVC tracks. The files stay with DVC.

A version is made once the export is proved to be the one that dvc.lock names: the listing of DVC's cache has the digest
of the very lineage.json that lies there, and that one has the digest of every other file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from trackyard.errors import DataError
from trackyard.record.lineage.document import LINEAGE, read_lineage
from trackyard.record.rundir import RunDirectory
from trackyard.record.tracking.server import RUN_TAG, StoredRun
from trackyard.record.tracking.store import Refused, TrackingStore
from trackyard.record.tracking.store_names import plain_text

MD5_TAG = "trackyard.dvc_md5"
LOCKS = ("dvc.lock", "pipelines/*/dvc.lock")


@dataclass(frozen=True, kw_only=True, slots=True)
class TrackedExport:
    """An export as DVC has it. path: of the output in the repository; md5: DVC's digest of it."""

    name: str
    path: str
    md5: str

    @property
    def source(self) -> str:
        """No server takes this for a path of its own."""
        return f"dvc://{self.path}?md5={self.md5}"


def lock_files(repository: Path) -> list[Path]:
    """Every dvc.lock of a repository."""
    return sorted(path for pattern in LOCKS for path in repository.glob(pattern))


def tracked_exports(repository: Path, run_id: str, models: Mapping[str, str]) -> list[TrackedExport]:
    """Those of `models` (name -> path) that the run `run_id` made and DVC has, as they lie here."""
    outputs: dict[str, str] = {}
    for lock in lock_files(repository):
        outputs |= _outputs(lock)
    found = []
    for name, path in models.items():
        export = repository / path
        if not (export / LINEAGE).is_file() or read_lineage(export).run_id != run_id:
            continue
        candidates = [str(out) for out in (PurePosixPath(path), *PurePosixPath(path).parents) if str(out) in outputs]
        if candidates and _is_tracked(repository, export, candidates[0], outputs[candidates[0]]):
            found.append(TrackedExport(name=name, path=candidates[0], md5=outputs[candidates[0]]))
    return found


def _outputs(lock: Path) -> dict[str, str]:
    """Path -> md5 of every output in a dvc.lock."""
    try:
        body: Any = yaml.safe_load(lock.read_text(encoding="utf-8"))
        stages = (body or {}).get("stages", {})
        return {
            str(out["path"]): str(out["md5"])
            for stage in stages.values()
            for out in stage.get("outs", [])
            if "md5" in out
        }
    except (yaml.YAMLError, AttributeError, KeyError, TypeError) as error:
        raise DataError(
            what=f"{lock} cannot be read: {type(error).__name__}",
            why="it says which exports DVC tracks",
            fix=f"git checkout {lock}   (or `dvc repro`, which writes it anew)",
        ) from error


def _is_tracked(repository: Path, export: Path, out: str, md5: str) -> bool:
    """Whether the lineage.json in `export` is that of the output `out` with digest `md5` in the cache of DVC."""
    listing = _cache(repository) / "files" / "md5" / md5[:2] / md5[2:]
    if not listing.is_file():
        return False
    name = (export / LINEAGE).relative_to(repository / out).as_posix()
    digest = hashlib.md5((export / LINEAGE).read_bytes(), usedforsecurity=False).hexdigest()
    return {"md5": digest, "relpath": name} in json.loads(listing.read_bytes())


def _cache(repository: Path) -> Path:
    """DVC's cache: in the repository, or where `dvc config cache.dir` has put it."""
    from dvc.config import Config
    from dvc.exceptions import DvcException

    place = repository / ".dvc"
    try:
        return Path(Config(dvc_dir=str(place))["cache"].get("dir", place / "cache"))
    except DvcException as error:
        raise DataError(
            what=f"DVC cannot read its configuration in {place}: {error}",
            why="it says where the cache lies, by which an export is proved to be the one that DVC tracks",
            fix=f"mend the line in {place}/config or {place}/config.local; `dvc config --list` reads both",
        ) from error


def register(store: TrackingStore, stored: StoredRun, run: RunDirectory, export: TrackedExport) -> None:
    """Make the version of `export`, unless there is one of the same name and md5."""
    client = store.client
    try:
        store.ask(client.create_registered_model, export.name)
    except Refused as error:
        # It exists, which is as good; anything else the next request is refused for as well.
        if error.status not in (400, 409):
            raise
    if _versions(store, export):
        return
    tags = {
        MD5_TAG: export.md5,
        "trackyard.path": export.path,
        RUN_TAG: run.spec.run_id,
        "mlflow.source.git.commit": run.spec.code.commit,
    }
    store.ask(
        client.create_model_version, export.name, export.source, run_id=stored.id, tags=tags, await_creation_for=0
    )
    # Two machines at once may both have made one: the first stays.
    for version in _versions(store, export)[1:]:
        try:
            store.ask(client.delete_model_version, export.name, version)
        except Refused as error:
            # The other one, which saw both as well, was faster: that is what was wanted.
            if error.status != 404:
                raise


def _versions(store: TrackingStore, export: TrackedExport) -> list[str]:
    found = store.ask(store.client.search_model_versions, f"name = '{plain_text(export.name)}'", max_results=1000)
    return [str(n) for n in sorted(int(item.version) for item in found if item.tags.get(MD5_TAG) == export.md5)]
