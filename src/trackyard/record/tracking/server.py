"""Where runs are tracked, whether that place answers, and how long it is waited for. MLflow itself: `store`."""

from __future__ import annotations

import http.client
import os
import sqlite3
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from trackyard.errors import ConfigError, TrackyardError
from trackyard.redact import Redactor

URI_VARIABLE = "MLFLOW_TRACKING_URI"
RUN_TAG = "trackyard.run_id"

CONNECT_S = 3.0
"""Seconds that connecting to a server may take."""

BATCH = 1000
"""Most points that MLflow takes in one call."""

ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_CONFIGURE_LOGGING": "false",
    # At the end of every run the client prints the address of the server, with a password that stands in it.
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # A repeated request to create a run can make two; a whole sync can be repeated safely instead.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
}
"""Set before MLflow is imported, unless the user has set the variable. The stock 7 retries block for 246 s."""


class Unreachable(TrackyardError):
    """The tracking store does not answer, or fails on its side; the spool keeps everything for a later sync."""


class OutOfTime(Unreachable):
    """The store answers, and what it had to be told took longer than there was time."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Patience:
    """How long a store is waited for, in seconds: for one answer, and for everything together (None: no limit)."""

    answer_s: float
    total_s: float | None = None


LONG = Patience(answer_s=120.0)
"""For whoever asked for the delivery, and for the follower: a slow server is a server."""

AT_STAGE_END = Patience(answer_s=10.0, total_s=15.0)
"""For the end of a stage: the result is there, and the rest of the delivery can come later."""


@dataclass(kw_only=True, slots=True)
class Waiting:
    """How much of a patience is left; it begins when this is made."""

    patience: Patience
    began: float = field(default_factory=time.monotonic)

    def left_s(self) -> float:
        """Seconds that the next answer may take. OutOfTime if there are none."""
        if self.patience.total_s is None:
            return self.patience.answer_s
        left = self.began + self.patience.total_s - time.monotonic()
        if left <= 0:
            raise OutOfTime(
                what=f"the tracking store took all of the {self.patience.total_s:.0f} s that there are for it here",
                why="nothing is lost: the rest stays in the spool and is delivered once by a later sync",
                fix="`trackyard record sync`, which waits as long as it takes",
            )
        return min(left, self.patience.answer_s)


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
    """A run as the store knows it: its name there, and its status (RUNNING, SCHEDULED, FINISHED, FAILED, KILLED).

    experiment: the store's name of it. start_ms, end_ms: milliseconds since 1970.
    """

    id: str
    status: str
    experiment: str = field(default="", compare=False)
    start_ms: int = field(default=0, compare=False)
    end_ms: int | None = field(default=None, compare=False)
    tags: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)


def tracking_uri(repository: Path, environment: Mapping[str, str] | None = None) -> str:
    """Where runs are tracked: MLFLOW_TRACKING_URI, else mlflow.db in the repository."""
    environment = os.environ if environment is None else environment
    return environment.get(URI_VARIABLE) or f"sqlite:///{(repository / 'mlflow.db').resolve()}"


def place(uri: str) -> str:
    """A tracking URI as it may be written down."""
    return Redactor().text(uri)


def database(uri: str) -> Path | None:
    """The file of a sqlite URI, None for a server. ConfigError for anything else."""
    scheme, separator, rest = uri.partition(":///")
    if scheme == "sqlite" and separator and rest:
        return Path(rest)
    if _is_address(uri):
        return None
    raise ConfigError(
        what=f"tracking URI {place(uri)!r}",
        why="runs are tracked in a sqlite file on a local disk or by an MLflow server; MLflow refuses file stores",
        fix=f"export {URI_VARIABLE}=http://<server>:<port>, or sqlite:///<file>, or unset it for mlflow.db here",
    )


def _is_address(uri: str) -> bool:
    """Whether this is the address of a server."""
    try:
        parts = urlsplit(uri)
        # A port that is no number is found when it is asked for.
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def require_reachable(uri: str, answer_s: float = CONNECT_S) -> None:
    """Raise Unreachable unless the store answers. MLflow itself would try far longer.

    A server has `CONNECT_S` to take the call, and then `answer_s` to answer.
    """
    path = database(uri)
    try:
        if path is None:
            _require_answer(uri, answer_s)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(path, timeout=CONNECT_S)
            try:
                connection.execute("BEGIN IMMEDIATE")
                connection.rollback()
            finally:
                connection.close()
    except (OSError, http.client.HTTPException, sqlite3.Error) as error:
        raise unreachable(uri, str(error) or type(error).__name__) from error


def _require_answer(uri: str, answer_s: float) -> None:
    parts = urlsplit(uri)
    host = parts.hostname or ""
    if {parts.scheme, "all"} & getproxies().keys() and not proxy_bypass(host):
        # It may be reached through the proxy alone, and MLflow's own requests go there.
        return
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(host, parts.port, timeout=CONNECT_S)
    try:
        connection.connect()
        connection.sock.settimeout(answer_s)
        connection.request("GET", f"{parts.path.rstrip('/')}/health")
        status = connection.getresponse().status
    except ssl.SSLCertVerificationError:
        # It is there. Whether to trust it is for MLflow to say, which has settings of its own for that.
        return
    finally:
        connection.close()
    # Any other answer is an answer: a proxy may not pass /health on.
    if status >= 500:
        raise http.client.HTTPException(f"it answers {status}")


def unreachable(uri: str, reason: str) -> Unreachable:
    """The error of a store that fails for `reason`."""
    return Unreachable(
        what=Redactor().text(f"tracking store {uri}: {reason}"),
        why="nothing is lost: the points stay in the run's spool and are delivered once by a later sync",
        fix="start the store (or correct MLFLOW_TRACKING_URI), then `trackyard record sync`",
    )
