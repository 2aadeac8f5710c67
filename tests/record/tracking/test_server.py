"""The MLflow adapter: names it takes, limits it knows, and seconds that an absent store may cost."""

from __future__ import annotations

import http.server
import os
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from trackyard.errors import ConfigError, TrackyardError
from trackyard.launch.processes import free_port
from trackyard.record.tracking.server import (
    ENVIRONMENT,
    DatasetFact,
    Point,
    StoredRun,
    Unreachable,
    database,
    require_reachable,
    tracking_uri,
)
from trackyard.record.tracking.store import TrackingStore


def test_the_place_is_the_environment_or_the_repository(tmp_path: Path) -> None:
    assert tracking_uri(tmp_path, {"MLFLOW_TRACKING_URI": "http://h:1"}) == "http://h:1"
    assert tracking_uri(tmp_path, {}) == f"sqlite:///{tmp_path}/mlflow.db"
    assert database(tracking_uri(tmp_path, {})) == tmp_path / "mlflow.db"
    assert database("https://example.org/mlflow") is None


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "mlruns",
        "file:///tmp/mlruns",
        "sqlite://",
        "sqlite:///",
        "http://",
        "ftp://h",
        "http://h:500O",
        "http://[::1",
    ],
)
def test_other_stores_are_refused(uri: str) -> None:
    with pytest.raises(ConfigError, match="tracking URI"):
        database(uri)


def test_a_password_in_the_address_is_not_shown() -> None:
    password = "pw" * 6
    with pytest.raises(ConfigError) as refused:
        database(f"ftp://u:{password}@h")
    with pytest.raises(Unreachable) as absent:
        require_reachable(f"http://u:{password}@127.0.0.1:{free_port()}")
    assert password not in str(refused.value) + str(absent.value)


def _refused(seconds: float, uri: str) -> str:
    started = time.monotonic()
    with pytest.raises(Unreachable) as raised:
        require_reachable(uri)
    assert time.monotonic() - started < seconds
    assert "stay in the run's spool" in raised.value.why
    assert "`trackyard record sync`" in raised.value.fix
    return raised.value.what


def test_a_closed_port_is_found_at_once() -> None:
    assert "refused" in _refused(5.0, f"http://127.0.0.1:{free_port()}")


def test_a_server_that_takes_calls_and_never_answers_is_given_three_seconds() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        assert "timed out" in _refused(8.0, f"http://127.0.0.1:{listener.getsockname()[1]}")


@pytest.fixture
def answering(request: pytest.FixtureRequest) -> Iterator[str]:
    """A server that answers every GET with one status."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(request.param)
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            return

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("answering", [500, 503], indirect=True)
def test_a_server_in_trouble_is_unreachable(answering: str) -> None:
    assert "it answers 50" in _refused(5.0, answering)


@pytest.mark.parametrize("answering", [200, 404], indirect=True)
def test_any_other_answer_is_an_answer(answering: str) -> None:
    require_reachable(answering)


def test_a_server_behind_a_proxy_is_asked_by_mlflow_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    uri = f"http://localhost:{free_port()}"
    _refused(5.0, uri)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    require_reachable(uri)
    monkeypatch.setenv("no_proxy", "localhost")
    _refused(5.0, uri)


@pytest.fixture
def self_signed(tmp_path: Path) -> Iterator[str]:
    """A server whose certificate nobody trusts."""
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "key.pem", "-out", "cert.pem",
         "-days", "1", "-subj", "/CN=localhost"],
        cwd=tmp_path, check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield f"https://localhost:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_whether_a_certificate_is_trusted_is_for_mlflow_to_say(self_signed: str) -> None:
    """Which has MLFLOW_TRACKING_INSECURE_TLS and MLFLOW_TRACKING_SERVER_CERT_PATH for that; without them it says no."""
    require_reachable(self_signed)
    with pytest.raises(Unreachable, match="SSL"):
        TrackingStore(self_signed).run(experiment="e", run_id="r", name="n", start_ms=0, tags={})


@pytest.mark.parametrize("answering", [404], indirect=True)
def test_a_server_that_is_no_mlflow_is_refused_not_waited_for(answering: str) -> None:
    with pytest.raises(TrackyardError, match="refused a request") as raised:
        TrackingStore(answering).run(experiment="e", run_id="r", name="n", start_ms=0, tags={})
    assert not isinstance(raised.value, Unreachable)


def test_a_database_that_cannot_be_opened_is_found_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no database, but longer than the header of one: " + "x" * 100)
    _refused(5.0, f"sqlite:///{tmp_path}/file/mlflow.db")
    assert "not a database" in _refused(5.0, f"sqlite:///{tmp_path}/file")


def test_the_environment_is_set_before_mlflow_and_the_users_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "60")
    TrackingStore("http://127.0.0.1:9")
    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "60"
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"
    for name in ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def stored(database_uri: str) -> tuple[TrackingStore, StoredRun]:
    store = TrackingStore(database_uri)
    return store, store.run(experiment="molmo2", run_id="abc", name="stage2 · abc", start_ms=1000, tags={"t": "1"})


def test_a_run_is_found_again_by_its_tag(stored: tuple[TrackingStore, StoredRun]) -> None:
    store, run = stored
    arguments = {"experiment": "molmo2", "name": "n", "start_ms": 2000, "tags": {"t": "2"}}
    assert store.run(run_id="abc", **arguments) == run  # type: ignore[arg-type]
    assert store.run(run_id="abd", **arguments) != run  # type: ignore[arg-type]
    assert run.status == "RUNNING"


def history(uri: str, run: StoredRun, key: str) -> list[tuple[int, int, float]]:
    from mlflow import MlflowClient

    return sorted((m.step, m.timestamp, m.value) for m in MlflowClient(uri).get_metric_history(run.id, key))


def test_the_same_point_is_stored_once_and_another_time_makes_another(
    stored: tuple[TrackingStore, StoredRun], database_uri: str
) -> None:
    """The facts of hpc section 9 that all of sync rests on, on the installed MLflow."""
    store, run = stored
    points = [Point(key="loss", value=step / 7, step=step, timestamp=1000 + step) for step in range(2500)]
    store.points(run, points)
    # A part again, mixed with new ones, and all again.
    store.points(run, [*points[900:1100], Point(key="loss", value=0.5, step=2500, timestamp=9)])
    store.points(run, points)
    assert history(database_uri, run, "loss") == [
        *((step, 1000 + step, step / 7) for step in range(2500)),
        (2500, 9, 0.5),
    ]
    store.points(run, [Point(key="loss", value=0.0, step=0, timestamp=77)])
    assert [entry for entry in history(database_uri, run, "loss") if entry[0] == 0] == [(0, 77, 0.0), (0, 1000, 0.0)]


def test_everything_can_be_described_twice_whatever_its_length(
    stored: tuple[TrackingStore, StoredRun], database_uri: str
) -> None:
    from mlflow import MlflowClient

    store, run = stored
    params = {f"p{number}": str(number) for number in range(250)} | {"long": "x" * 6001, "odd (name)": "1"}
    tags = {f"t{number}": "v" for number in range(250)} | {"long": "y" * 8001}
    facts = [DatasetFact(name="charts", digest="b" * 64, source="hub:x@1", context="training")]
    for _ in range(2):
        store.describe(run, params=params, tags=tags, datasets=facts)
    kept = MlflowClient(database_uri).get_run(run.id)
    assert len(kept.data.params) == 252
    assert kept.data.params["p249"] == "249"
    assert kept.data.params["long"].startswith("6001 characters, blake3 ")
    assert kept.data.tags["long"].startswith("8001 characters, blake3 ")
    assert [(i.dataset.name, i.dataset.digest) for i in kept.inputs.dataset_inputs] == [("charts", "b" * 36)]


def test_a_changed_parameter_is_refused(stored: tuple[TrackingStore, StoredRun]) -> None:
    store, run = stored
    store.describe(run, params={"a": "1"}, tags={}, datasets=[])
    with pytest.raises(TrackyardError, match="refused a request"):
        store.describe(run, params={"a": "2"}, tags={}, datasets=[])


@pytest.mark.usefixtures("stored")
def test_a_deleted_experiment_is_named(database_uri: str) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(database_uri)
    experiment = client.get_experiment_by_name("molmo2")
    client.delete_experiment(experiment.experiment_id)
    with pytest.raises(TrackyardError, match="is deleted") as raised:
        TrackingStore(database_uri).run(experiment="molmo2", run_id="abc", name="n", start_ms=0, tags={})
    assert raised.value.fix == f"mlflow experiments restore --experiment-id {experiment.experiment_id}"
