"""MLflow, behind the few verbs that delivery needs. Its client is imported nowhere else, and only in use (1.5 s)."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from trackyard.errors import TrackyardError
from trackyard.record.tracking.server import (
    BATCH,
    ENVIRONMENT,
    LONG,
    RUN_TAG,
    DatasetFact,
    Patience,
    Point,
    StoredRun,
    Waiting,
    database,
    unreachable,
)
from trackyard.record.tracking.store_names import (
    LONGEST_DIGEST,
    LONGEST_PARAM,
    LONGEST_TAG,
    plain_text,
    store_key,
    store_texts,
    tag_filter,
)
from trackyard.record.tracking.time_limit import time_limit
from trackyard.redact import Redactor

if TYPE_CHECKING:
    from mlflow.entities import Metric, Run

T = TypeVar("T")

PARENT_TAG = "mlflow.parentRunId"
CREATED_TAG = "trackyard.created"
"""When a run was created, by the clock of its creator in milliseconds: MLflow keeps only the start that it is told."""

_TEXTS_PER_BATCH = 100
_PAGE = 1000


class Refused(TrackyardError):
    """The store understands the request and refuses it. status: as in HTTP."""

    status = 400


class RunGone(TrackyardError):
    """The run was deleted in the store; whatever was delivered to it has to be delivered again."""


class TrackingStore:
    """A tracking store that was found reachable. Every method raises Unreachable when it no longer is, OutOfTime (one
    of these) when its patience is at an end, and Refused when the store refuses it; RunGone where a run is deleted.
    Every method can be repeated."""

    def __init__(self, uri: str, patience: Patience = LONG, *, waiting: Waiting | None = None) -> None:
        """waiting: where the patience has begun already."""
        for name, value in ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        import mlflow

        self.uri = uri
        self._waiting = waiting or Waiting(patience=patience)
        self._mlflow = mlflow
        self._experiments: dict[str, str] = {}
        self.client = self.ask(mlflow.MlflowClient, tracking_uri=uri)

    def ask(self, call: Callable[..., T], *arguments: Any, about: StoredRun | None = None, **named: Any) -> T:
        """One request. about: the run that it changes. Threads may ask at once."""
        with time_limit(self._waiting.left_s()):
            try:
                return call(*arguments, **named)
            except self._mlflow.exceptions.MlflowException as error:
                raise self._translated(error, error.get_http_status_code(), about) from error

    def _translated(self, error: Exception, status: int, about: StoredRun | None) -> TrackyardError:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        # 408 and 429 ask to come again later; the other 4xx would be refused again.
        if not 400 <= status < 500 or status in (408, 429):
            return unreachable(self.uri, reason)
        if about is not None and self._is_gone(about):
            return RunGone(
                what=f"the MLflow run {about.id} is deleted",
                why="nothing can be added to it, and what was delivered to it is no longer shown",
                fix="`trackyard record sync` delivers everything again, to a run that is not deleted",
            )
        refused = Refused(
            what=Redactor().text(f"tracking store {self.uri} refused a request: {reason}"),
            why="the same request would be refused again; the points stay in the spool",
            fix="check MLFLOW_TRACKING_URI, its user and its password, then `trackyard record sync`",
        )
        refused.status = status
        return refused

    def _is_gone(self, run: StoredRun) -> bool:
        with time_limit(self._waiting.left_s()):
            try:
                stage: str = self.client.get_run(run.id).info.lifecycle_stage
            except self._mlflow.exceptions.MlflowException as error:
                status: int = error.get_http_status_code()
                return status == 404
        return stage != "active"

    def run(self, *, experiment: str, run_id: str, name: str, start_ms: int, tags: Mapping[str, str]) -> StoredRun:
        """The run that carries `run_id` as its tag, created if there is none yet."""
        return self.one(self.experiment(experiment), {RUN_TAG: run_id}, name=name, start_ms=start_ms, tags=tags)

    def one(
        self, experiment: str, key: Mapping[str, str], *, name: str, start_ms: int, tags: Mapping[str, str]
    ) -> StoredRun:
        """The one run that carries the tags `key`, created if there is none yet.

        Where there are several (a request that this side gave up and the server carried out, two machines at once),
        the earliest stays and takes up what the others hold; they are deleted.
        """
        key = {tag: plain_text(value) for tag, value in key.items()}
        found = self.find(experiment, key)
        if not found:
            made = {**store_texts({**tags, **key}, LONGEST_TAG), CREATED_TAG: str(time.time_ns() // 1_000_000)}
            self.ask(self.client.create_run, experiment, start_time=start_ms, tags=made, run_name=name)
            found = self.find(experiment, key)
        if len(found) > 1:
            from trackyard.record.tracking.doubles import take_up

            for double in found[1:]:
                take_up(self, found[0], double)
        return found[0]

    def find(self, experiment: str, tags: Mapping[str, str]) -> list[StoredRun]:
        """Runs that carry all of `tags`, the earliest created first, whoever asks."""
        runs: list[Run] = []
        token = None
        while True:
            page = self.ask(
                self.client.search_runs,
                [experiment],
                filter_string=tag_filter(tags),
                max_results=_PAGE,
                page_token=token,
            )
            runs += page
            token = page.token
            if not token:
                break
        runs.sort(key=lambda run: (_created_ms(run), str(run.info.run_id)))
        return [_stored(run) for run in runs]

    def experiment(self, name: str) -> str:
        """The store's name of an experiment, which is created if there is none yet."""
        if name not in self._experiments:
            self._experiments[name] = self._experiment(name)
        return self._experiments[name]

    def _experiment(self, name: str) -> str:
        found = self.ask(self.client.get_experiment_by_name, name)
        if found is None:
            path = database(self.uri)
            place = None if path is None else str(path.resolve().parent / "mlartifacts" / name)
            try:
                return str(self.ask(self.client.create_experiment, name, artifact_location=place))
            except Refused:
                # Somebody else was faster, or it really is refused: then it still does not exist.
                found = self.ask(self.client.get_experiment_by_name, name)
                if found is None:
                    raise
        if found.lifecycle_stage != "active":
            raise TrackyardError(
                what=f"the MLflow experiment {name!r} is deleted",
                why="runs cannot be added to a deleted experiment, and a second one cannot have its name",
                fix=f"mlflow experiments restore --experiment-id {found.experiment_id}",
            )
        return str(found.experiment_id)

    def points(self, run: StoredRun, points: Sequence[Point]) -> dict[str, int]:
        """Store points; how many of which metric are refused, which does not hold up the others.

        The same point again, with its timestamp, is stored once (hpc section 9).
        """
        from mlflow.entities import Metric

        metrics = [Metric(store_key(point.key), point.value, point.timestamp, point.step) for point in points]
        refused: dict[str, int] = {}
        for start in range(0, len(metrics), BATCH):
            self._metrics(run, metrics[start : start + BATCH], refused)
        return refused

    def _metrics(self, run: StoredRun, metrics: Sequence[Metric], refused: dict[str, int]) -> None:
        try:
            self.ask(self.client.log_batch, run.id, metrics=metrics, about=run)
        except Refused as error:
            if error.status != 400:
                raise
            keys = sorted({metric.key for metric in metrics})
            if len(metrics) == 1:
                refused[keys[0]] = refused.get(keys[0], 0) + 1
                return
            # A metric that is refused is mostly refused at every step: the halves are of whole metrics first.
            half = keys[len(keys) // 2]
            upper = [metric for metric in metrics if metric.key >= half]
            lower = [metric for metric in metrics if metric.key < half]
            parts = (lower, upper) if lower else (metrics[: len(metrics) // 2], metrics[len(metrics) // 2 :])
            for part in parts:
                self._metrics(run, part, refused)

    def describe(
        self, run: StoredRun, *, params: Mapping[str, str], tags: Mapping[str, str], datasets: Sequence[DatasetFact]
    ) -> None:
        """Store parameters (which can never change), tags and data sets."""
        from mlflow.entities import Dataset, DatasetInput, InputTag, Param, RunTag

        all_params = [Param(key, value) for key, value in store_texts(params, LONGEST_PARAM).items()]
        all_tags = [RunTag(key, value) for key, value in store_texts(tags, LONGEST_TAG).items()]
        inputs = [
            DatasetInput(
                dataset=Dataset(
                    name=fact.name, digest=fact.digest[:LONGEST_DIGEST], source_type="trackyard", source=fact.source
                ),
                tags=[InputTag("mlflow.data.context", fact.context)],
            )
            for fact in datasets
        ]
        for start in range(0, len(all_params), _TEXTS_PER_BATCH):
            self.ask(self.client.log_batch, run.id, params=all_params[start : start + _TEXTS_PER_BATCH], about=run)
        for start in range(0, len(all_tags), _TEXTS_PER_BATCH):
            self.ask(self.client.log_batch, run.id, tags=all_tags[start : start + _TEXTS_PER_BATCH], about=run)
        if inputs:
            self.ask(self.client.log_inputs, run.id, datasets=inputs, about=run)

    def artifact(self, run: StoredRun, path: Path, folder: str) -> None:
        """Store one small file; the same path again replaces it."""
        self._file(run, self.client.log_artifact, str(path), folder or None)

    def document(self, run: StoredRun, name: str, body: Any) -> None:
        """Store a small JSON artifact that lies in no file."""
        self._file(run, self.client.log_text, json.dumps(body, indent=2) + "\n", name)

    def _file(self, run: StoredRun, call: Callable[..., None], *arguments: Any) -> None:
        """Files lie where the server says: with it, on a disk of this machine, in a bucket. Each has its own client."""
        try:
            self.ask(call, run.id, *arguments, about=run)
        except TrackyardError:
            raise
        except Exception as error:
            # These clients share no class of errors.
            if isinstance(error, OSError) and hasattr(error, "response"):
                # Of `requests`, by which a server is asked to pass files on. Without an answer there is no status.
                answer = error.response
                raise self._translated(error, 500 if answer is None else answer.status_code, run) from error
            raise Refused(
                what=Redactor().text(f"artifacts of the MLflow run {run.id}: {type(error).__name__}: {error}"),
                why="figures and tables of the run are not shown there; they stay in the run directory",
                fix="let this machine write to the place that the server names for artifacts, or start the server with "
                "--artifacts-destination, as servers/mlflow-group.sh does; then `trackyard record sync`",
            ) from error

    def rename(self, run: StoredRun, name: str) -> None:
        """Store the name under which lists show the run."""
        self.ask(self.client.update_run, run.id, name=name, about=run)

    def status(self, run: StoredRun, status: str, ended_ms: int | None) -> None:
        """Store how the run stands; `ended_ms` for one that ended."""
        if ended_ms is None:
            self.ask(self.client.update_run, run.id, status=status, about=run)
        else:
            self.ask(self.client.set_terminated, run.id, status=status, end_time=ended_ms, about=run)


def _created_ms(run: Run) -> int:
    text = run.data.tags.get(CREATED_TAG, "")
    return int(text) if text.isdecimal() else int(run.info.start_time or 0)


def _stored(run: Run) -> StoredRun:
    return StoredRun(
        id=str(run.info.run_id),
        status=str(run.info.status),
        experiment=str(run.info.experiment_id),
        start_ms=int(run.info.start_time or 0),
        end_ms=run.info.end_time,
        tags=dict(run.data.tags),
    )
