"""MLflow, behind the few verbs that sync needs. The only module that imports it, and only when it is used (1.5 s)."""

from __future__ import annotations

import http.client
import os
import posixpath
import re
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from trackyard.digest import digest_bytes, short
from trackyard.errors import ConfigError, TrackyardError
from trackyard.redact import Redactor

URI_VARIABLE = "MLFLOW_TRACKING_URI"
RUN_TAG = "trackyard.run_id"

CONNECT_S = 3.0
"""Seconds that finding out about a server may take."""

BATCH = 1000
"""Most points that MLflow takes in one call."""

_TEXTS_PER_BATCH = 100
_LONGEST_PARAM = 6000
_LONGEST_TAG = 8000
_LONGEST_KEY = 250
_LONGEST_DIGEST = 36
# Source: limits of mlflow.utils.validation 3.17; longer params and tags are cut silently there, longer keys refused.

_KEY = re.compile(r"[A-Za-z0-9_\-. :/]+")

ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_CONFIGURE_LOGGING": "false",
    # A repeated request to create a run can make two; a whole sync can be repeated safely instead.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
}
"""Set before MLflow is imported, unless the user has set the variable. The stock 7 retries block for 246 s."""


class Unreachable(TrackyardError):
    """The tracking store does not answer, or fails on its side; the spool keeps everything for a later sync."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """One value of one metric. timestamp: milliseconds since 1970, when it was spooled."""

    key: str
    value: float
    step: int
    timestamp: int


@dataclass(frozen=True, kw_only=True, slots=True)
class DatasetFact:
    """A data set that a run read; MLflow keeps the first 36 characters of the digest."""

    name: str
    digest: str
    source: str
    context: str


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredRun:
    """A run as the store knows it: its name there, and its status (RUNNING, SCHEDULED, FINISHED, FAILED, KILLED)."""

    id: str
    status: str


def tracking_uri(repository: Path, environment: Mapping[str, str] | None = None) -> str:
    """Where runs are tracked: MLFLOW_TRACKING_URI, else mlflow.db in the repository."""
    environment = os.environ if environment is None else environment
    return environment.get(URI_VARIABLE) or f"sqlite:///{(repository / 'mlflow.db').resolve()}"


def database(uri: str) -> Path | None:
    """The file of a sqlite URI, None for a server. ConfigError for anything else."""
    scheme, separator, rest = uri.partition(":///")
    if scheme == "sqlite" and separator and rest:
        return Path(rest)
    if urlsplit(uri).scheme in ("http", "https") and urlsplit(uri).hostname:
        return None
    raise ConfigError(
        what=f"tracking URI {Redactor().text(uri)!r}",
        why="runs are tracked in a sqlite file on a local disk or by an MLflow server; MLflow refuses file stores",
        fix=f"export {URI_VARIABLE}=http://<server>:<port>, or sqlite:///<file>, or unset it for mlflow.db here",
    )


def require_reachable(uri: str) -> None:
    """Raise Unreachable, within about `CONNECT_S`, unless the store answers. MLflow itself would try far longer."""
    path = database(uri)
    try:
        if path is None:
            _require_answer(uri)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(path, timeout=CONNECT_S)
            try:
                connection.execute("BEGIN IMMEDIATE")
                connection.rollback()
            finally:
                connection.close()
    except (OSError, http.client.HTTPException, sqlite3.Error) as error:
        raise _unreachable(uri, str(error) or type(error).__name__) from error


def _require_answer(uri: str) -> None:
    parts = urlsplit(uri)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=CONNECT_S)
    try:
        connection.request("GET", f"{parts.path.rstrip('/')}/health")
        status = connection.getresponse().status
    finally:
        connection.close()
    # Any other answer is an answer: a proxy may not pass /health on.
    if status >= 500:
        raise http.client.HTTPException(f"it answers {status}")


def _unreachable(uri: str, reason: str) -> Unreachable:
    return Unreachable(
        what=Redactor().text(f"tracking store {uri}: {reason}"),
        why="nothing is lost: the points stay in the run's spool and are delivered once by a later sync",
        fix="start the store (or correct MLFLOW_TRACKING_URI), then `trackyard record sync`",
    )


def store_key(name: str) -> str:
    """`name` where MLflow takes it as a key, else a name that it takes and that no other name is given."""
    normal = posixpath.normpath(name)
    fits = normal == name and normal != "." and not normal.startswith(("..", "/")) and len(name) <= _LONGEST_KEY
    if fits and _KEY.fullmatch(name):
        return name
    mark = short(digest_bytes(name.encode()))
    plain = re.sub(r"[^A-Za-z0-9_\-]+", "_", name).strip("_")
    return f"{plain[:200]}-{mark}" if plain else mark


class TrackingStore:
    """A tracking store that was found reachable. Every method raises Unreachable when it no longer is, and
    TrackyardError when the store understands the request and refuses it. Every method can be repeated."""

    def __init__(self, uri: str) -> None:
        for name, value in ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        import mlflow

        self._uri = uri
        self._mlflow = mlflow
        with self._translated():
            self._client = mlflow.MlflowClient(tracking_uri=uri)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except self._mlflow.exceptions.MlflowException as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            # 408 and 429 ask to come again later; the other 4xx would be refused again.
            status = error.get_http_status_code()
            if 400 <= status < 500 and status not in (408, 429):
                raise TrackyardError(
                    what=Redactor().text(f"tracking store {self._uri} refused a request: {reason}"),
                    why="the same request would be refused again; the points stay in the spool",
                    fix="check MLFLOW_TRACKING_URI, its user and its password, then `trackyard record sync`",
                ) from error
            raise _unreachable(self._uri, reason) from error

    def run(self, *, experiment: str, run_id: str, name: str, start_ms: int, tags: Mapping[str, str]) -> StoredRun:
        """The run that carries `run_id` as its tag, created if there is none yet."""
        with self._translated():
            experiment_id = self._experiment(experiment)
            query = f"tags.`{RUN_TAG}` = '{run_id}'"
            found = self._client.search_runs([experiment_id], filter_string=query)
            # The smallest id: whoever asks gets the same one, should there ever be two.
            infos = sorted((run.info for run in found), key=lambda info: str(info.run_id))
            info = (
                infos[0] if infos
                else self._client.create_run(
                    experiment_id, start_time=start_ms, tags={**_texts(tags, _LONGEST_TAG), RUN_TAG: run_id},
                    run_name=name,
                ).info
            )  # fmt: skip
        return StoredRun(id=str(info.run_id), status=str(info.status))

    def _experiment(self, name: str) -> str:
        found = self._client.get_experiment_by_name(name)
        if found is None:
            path = database(self._uri)
            place = None if path is None else str(path.resolve().parent / "mlartifacts" / name)
            return str(self._client.create_experiment(name, artifact_location=place))
        if found.lifecycle_stage != "active":
            raise TrackyardError(
                what=f"the MLflow experiment {name!r} is deleted",
                why="runs cannot be added to a deleted experiment, and a second one cannot have its name",
                fix=f"mlflow experiments restore --experiment-id {found.experiment_id}",
            )
        return str(found.experiment_id)

    def points(self, run: StoredRun, points: Sequence[Point]) -> None:
        """Store points. The same point again, with its timestamp, is stored once (hpc section 9)."""
        from mlflow.entities import Metric

        metrics = [Metric(store_key(point.key), point.value, point.timestamp, point.step) for point in points]
        with self._translated():
            for start in range(0, len(metrics), BATCH):
                self._client.log_batch(run.id, metrics=metrics[start : start + BATCH])

    def describe(
        self, run: StoredRun, *, params: Mapping[str, str], tags: Mapping[str, str], datasets: Sequence[DatasetFact]
    ) -> None:
        """Store parameters (which can never change), tags and data sets."""
        from mlflow.entities import Dataset, DatasetInput, InputTag, Param, RunTag

        all_params = [Param(key, value) for key, value in _texts(params, _LONGEST_PARAM).items()]
        all_tags = [RunTag(key, value) for key, value in _texts(tags, _LONGEST_TAG).items()]
        inputs = [
            DatasetInput(
                dataset=Dataset(
                    name=fact.name, digest=fact.digest[:_LONGEST_DIGEST], source_type="trackyard", source=fact.source
                ),
                tags=[InputTag("mlflow.data.context", fact.context)],
            )
            for fact in datasets
        ]
        with self._translated():
            for start in range(0, len(all_params), _TEXTS_PER_BATCH):
                self._client.log_batch(run.id, params=all_params[start : start + _TEXTS_PER_BATCH])
            for start in range(0, len(all_tags), _TEXTS_PER_BATCH):
                self._client.log_batch(run.id, tags=all_tags[start : start + _TEXTS_PER_BATCH])
            if inputs:
                self._client.log_inputs(run.id, datasets=inputs)

    def artifact(self, run: StoredRun, path: Path, folder: str) -> None:
        """Store one small file; the same path again replaces it."""
        with self._translated():
            self._client.log_artifact(run.id, str(path), folder or None)

    def status(self, run: StoredRun, status: str, ended_ms: int | None) -> None:
        """Store how the run stands; `ended_ms` for one that ended."""
        with self._translated():
            if ended_ms is None:
                self._client.update_run(run.id, status=status)
            else:
                self._client.set_terminated(run.id, status=status, end_time=ended_ms)


def _texts(values: Mapping[str, str], longest: int) -> dict[str, str]:
    """Keys and values that MLflow stores whole; a longer text is named by its digest and stands in spec.json."""

    def short_enough(value: str) -> str:
        if len(value) <= longest:
            return value
        return f"{len(value)} characters, blake3 {digest_bytes(value.encode())}: see the artifact spec.json"

    return {store_key(key): short_enough(value) for key, value in values.items()}
