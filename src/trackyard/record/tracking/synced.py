"""spool/synced.json: what is known to be in the tracking store. It only saves work: without it, all is sent again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import Field, ValidationError

from trackyard.errors import DataError
from trackyard.parameters import Parameters
from trackyard.record.rundir import RunDirectory
from trackyard.schema import read_document, write_document

SCHEMA = "trackyard-synced/1"
STATE = "synced.json"
PASS_SCHEMA = "trackyard-last-sync/1"
PASS = ".last_sync.json"

P = TypeVar("P", bound=Parameters)


class Reference(Parameters):
    """A file that stays where it is. bytes: its size. modified_ns: when it was hashed, it was that old."""

    bytes: int
    blake3: str
    modified_ns: int


class AttemptSynced(Parameters):
    """The MLflow run of an attempt. offset: bytes of its spool delivered there; described: digest of its facts."""

    mlflow_run: str
    offset: int = 0
    described: str = ""


class Synced(Parameters):
    """What is known to be in the store: of that run there; of any other nothing is known.

    told: what the run there says was delivered (`delivery.DELIVERED_TAG`), when it was told last. offsets: bytes
    delivered, by spool file. described: digest of the description. artifacts: path -> blake3. references: what was too
    large to be an artifact. attempts: by spool file. registered: DVC's md5 of the versions of each model. models:
    exports to be registered, name -> path. refused: points that the store did not take, by metric. store, at_ms: where
    to and when the last delivery went. settled: how the files looked, before they were read, of which nothing was left
    to deliver.
    """

    mlflow_run: str
    told: str = ""
    offsets: dict[str, int] = Field(default_factory=dict)
    described: str = ""
    artifacts: dict[str, str] = Field(default_factory=dict)
    references: dict[str, Reference] = Field(default_factory=dict)
    attempts: dict[str, AttemptSynced] = Field(default_factory=dict)
    registered: dict[str, list[str]] = Field(default_factory=dict)
    models: dict[str, str] = Field(default_factory=dict)
    refused: dict[str, int] = Field(default_factory=dict)
    store: str = ""
    at_ms: int = 0
    settled: str = ""


class LastSync(Parameters):
    """The last pass over all runs. why: what the store said, where it did not answer; failed: the same of single runs,
    by their path below runs/."""

    store: str
    at_ms: int
    why: str = ""
    failed: dict[str, str] = Field(default_factory=dict)


def write_last_sync(root: Path, last: LastSync) -> None:
    """Write it into the directory of all runs."""
    write_document(root / PASS, PASS_SCHEMA, last.model_dump())


def read_last_sync(root: Path) -> LastSync | None:
    """The last pass over the runs in `root`; None where there was none. DataError for a damaged file."""
    path = root / PASS
    if not path.exists():
        return None
    fix = f"rm {path}   (the next sync writes it anew)"
    return _validated(LastSync, read_document(path, PASS_SCHEMA, fix=fix), path, fix)


def read_synced(run: RunDirectory) -> Synced | None:
    """What was written last; None where nothing was. DataError for a damaged file."""
    path = run.spool / STATE
    if not path.exists():
        return None
    fix = f"rm {path}   (the next sync replays the spool, without duplicates)"
    return _validated(Synced, read_document(path, SCHEMA, fix=fix), path, fix)


def _validated(kind: type[P], document: Mapping[str, Any], path: Path, fix: str) -> P:
    try:
        return kind.model_validate({key: value for key, value in document.items() if key != "schema"})
    except ValidationError as error:
        raise DataError(
            what=f"{path}: {error.errors()[0]['loc']}: {error.errors()[0]['msg']}",
            why="what was delivered cannot be read from it",
            fix=fix,
        ) from error


def write_synced(path: Path, known: Synced) -> None:
    """Write it into the spool directory `path`, complete or not at all."""
    write_document(path / STATE, SCHEMA, known.model_dump())
