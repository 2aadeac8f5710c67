"""Rows about what is reached from here, and the secrets for it: network, MLflow, the DVC remote."""

from __future__ import annotations

import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import pytest

from tests.launch.doctor.asking import CLUSTER, asking
from trackyard.errors import ConfigError, EnvironmentLacking
from trackyard.launch.doctor import dvc_secrets, network, remote, secrets, tracking
from trackyard.launch.doctor.asked import Wanted
from trackyard.launch.doctor.bounded import within
from trackyard.launch.preflight import Skipped, Warned

JOB = {"SLURM_JOB_ID": "7"}


class Answering(BaseHTTPRequestHandler):
    status = 200

    def do_HEAD(self) -> None:
        self.send_response(self.status)
        self.end_headers()

    do_GET = do_HEAD

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@contextmanager
def answering(status: int = 200) -> Iterator[str]:
    handler = type("Handler", (Answering,), {"status": status})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def closed() -> str:
    """An address at which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{taken.getsockname()[1]}"


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def test_a_call_has_an_end() -> None:
    assert within(5, lambda: 7, what="it", why="", fix="") == 7
    with pytest.raises(KeyError):
        within(5, lambda: {}["x"], what="it", why="", fix="")
    with pytest.raises(EnvironmentLacking, match=r"it does not answer within 0\.05 s"):
        within(0.05, lambda: time.sleep(5), what="it", why="", fix="")


def test_the_network_is_there(tmp_path: Path) -> None:
    for status in (200, 401, 404):
        with answering(status) as address:
            seen = network.network_row(asking(tmp_path, environment={"HF_ENDPOINT": address}))
        assert seen.detail == "127.0.0.1 answers"
    with pytest.raises(Skipped, match="HF_HUB_OFFLINE"):
        network.network_row(asking(tmp_path, environment={"HF_ENDPOINT": address, "HF_HUB_OFFLINE": "1"}))


def test_the_network_is_not_there(tmp_path: Path, closed: str) -> None:
    with pytest.raises(Warned, match="does not answer"):
        network.network_row(asking(tmp_path, environment={"HF_ENDPOINT": closed}))
    with answering(503) as address, pytest.raises(Warned, match="HTTP 503"):
        network.network_row(asking(tmp_path, environment={"HF_ENDPOINT": address}))
    told = asking(tmp_path, site=CLUSTER, compute_has_network=True, environment={"HF_ENDPOINT": closed, **JOB})
    with pytest.raises(EnvironmentLacking, match="does not answer") as raised:
        network.network_row(told)
    assert raised.value.fix.startswith("write compute_has_network: false into sites/far.yaml")


def test_a_job_that_is_to_have_no_network(tmp_path: Path, closed: str) -> None:
    asked = asking(tmp_path, site=CLUSTER, environment={"HF_ENDPOINT": closed, **JOB})
    assert network.network_row(asked).detail == "no network in a job, as sites/far.yaml says"
    with answering() as address, pytest.raises(Warned, match="from inside a job"):
        network.network_row(asking(tmp_path, site=CLUSTER, environment={"HF_ENDPOINT": address, **JOB}))


def test_mlflow_answers(tmp_path: Path) -> None:
    assert tracking.tracking_row(asking(tmp_path)).detail.endswith("mlflow.db will be made by the first delivery")
    assert list(tmp_path.iterdir()) == []
    sqlite3.connect(tmp_path / "mlflow.db").execute("CREATE TABLE x (y)").connection.close()
    assert tracking.tracking_row(asking(tmp_path)).detail.endswith("mlflow.db answers")
    with answering() as address:
        seen = tracking.tracking_row(asking(tmp_path, environment={"MLFLOW_TRACKING_URI": address}))
    assert seen.detail == f"{address} answers"


def test_mlflow_does_not(tmp_path: Path, closed: str) -> None:
    with pytest.raises(Warned, match="tracking store") as raised:
        tracking.tracking_row(asking(tmp_path, environment={"MLFLOW_TRACKING_URI": closed}))
    assert "trackyard record sync" in raised.value.fix
    with pytest.raises(ConfigError, match="tracking URI"):
        tracking.tracking_row(asking(tmp_path, environment={"MLFLOW_TRACKING_URI": "file:///x"}))


def with_remote(root: Path, url: str, more: str = "") -> Path:
    (root / ".dvc").mkdir(exist_ok=True)
    (root / ".dvc" / "config").write_text(f"[core]\n    remote = far\n['remote \"far\"']\n    url = {url}\n{more}")
    return root


def test_a_dvc_remote_that_is_a_folder(tmp_path: Path) -> None:
    with pytest.raises(Skipped, match="no DVC remote"):
        remote.remote_row(asking(tmp_path))
    asked = asking(with_remote(tmp_path, "../kept"))
    with pytest.raises(EnvironmentLacking, match="there is no such folder"):
        remote.remote_row(asked)
    (tmp_path / "kept").mkdir()
    assert remote.remote_row(asked).detail == f"remote far, {tmp_path / 'kept'} is there"


def test_a_dvc_remote_that_nobody_configured(tmp_path: Path) -> None:
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc" / "config").write_text("[core]\n    remote = far\n")
    with pytest.raises(ConfigError, match="'far' is not configured"):
        remote.remote_row(asking(tmp_path))


def test_a_dvc_remote_that_is_a_host(tmp_path: Path, closed: str) -> None:
    with answering() as address:
        assert remote.remote_row(asking(with_remote(tmp_path, address))).detail.endswith("answers")
    with pytest.raises(EnvironmentLacking, match="refused"):
        remote.remote_row(asking(with_remote(tmp_path, closed)))
    with pytest.raises(Skipped, match="nothing here asks gs"):
        remote.remote_row(asking(with_remote(tmp_path, "gs://bucket/x")))


@pytest.mark.parametrize(("status", "what"), [(200, ""), (403, "HTTP 403"), (404, "no such bucket")])
def test_a_dvc_remote_that_is_a_bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int, what: str) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "of-a-test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "of-a-test")
    with answering(status) as address:
        asked = asking(with_remote(tmp_path, "s3://bucket/x", f"    endpointurl = {address}\n"))
        if what:
            with pytest.raises(EnvironmentLacking, match=what):
                remote.remote_row(asked)
        else:
            assert remote.remote_row(asked).detail.endswith("answers")


def test_a_bucket_is_not_blamed_for_what_its_client_takes_to_load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, made = boto3.Session, []
    limited = False

    def session(**given: Any) -> Any:
        made.append(limited)
        return real(**given)

    def limiting(seconds: float, call: Callable[[], Any], **words: str) -> Any:
        nonlocal limited
        limited = True
        return within(seconds, call, **words)

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "of-a-test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "of-a-test")
    monkeypatch.setattr(boto3, "Session", session)
    monkeypatch.setattr(remote, "within", limiting)
    with answering(200) as address:
        asked = asking(with_remote(tmp_path, "s3://bucket/x", f"    endpointurl = {address}\n"))
        assert remote.remote_row(asked).detail.endswith("answers")
    assert (made, limited) == ([False], True), "the limit is for the answer"


def test_a_bucket_whose_store_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, closed: str) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "of-a-test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "of-a-test")
    with pytest.raises(EnvironmentLacking, match="Could not connect"):
        remote.remote_row(asking(with_remote(tmp_path, "s3://bucket/x", f"    endpointurl = {closed}\n")))


def test_a_bucket_at_what_is_no_address(tmp_path: Path) -> None:
    with_remote(tmp_path, "s3://bucket/x", "    endpointurl = s3.example\n")
    with pytest.raises(EnvironmentLacking, match=r"Invalid endpoint: s3\.example"):
        remote.remote_row(asking(tmp_path))


def test_secrets_are_named_and_never_shown(tmp_path: Path) -> None:
    value = "never-" + "shown"
    environment = {
        "HF_TOKEN": value,
        "MLFLOW_TRACKING_URI": "http://127.0.0.1:5000",
        "MLFLOW_TRACKING_PASSWORD": value,
        "AWS_ACCESS_KEY_ID": value,
        "AWS_SECRET_ACCESS_KEY": value,
        "HOME": str(tmp_path),
    }
    asked = asking(with_remote(tmp_path, "s3://bucket/x"), environment=environment)
    seen, of_dvc = secrets.secrets_row(asked), dvc_secrets.dvc_secrets_row(asked)
    assert seen.detail.split("; ") == [
        "HF_TOKEN is set",
        "MLFLOW_TRACKING_USERNAME is not set",
        "MLFLOW_TRACKING_PASSWORD is set",
        "MLFLOW_TRACKING_TOKEN is not set",
    ]
    assert of_dvc.detail == "none in .dvc/config; AWS_ACCESS_KEY_ID is set; AWS_SECRET_ACCESS_KEY is set"
    assert value not in repr((seen, of_dvc, asked))


def test_gated_data_need_a_token(tmp_path: Path) -> None:
    home = {"HOME": str(tmp_path)}
    gated = Wanted(name="molmo2/stage2", bytes=1, files=None, gated=("owner/films",))
    free = Wanted(name="molmo2/stage1", bytes=1, files=None)
    assert secrets.secrets_row(asking(tmp_path, environment=home, wanted=free)).detail == "HF_TOKEN is not set"
    with pytest.raises(EnvironmentLacking, match=r"molmo2/stage2 needs owner/films, which is gated") as raised:
        secrets.secrets_row(asking(tmp_path, environment=home, wanted=gated))
    assert raised.value.exit_code == 3
    token = tmp_path / ".cache" / "huggingface" / "token"
    token.parent.mkdir(parents=True)
    token.write_text("x")
    stored = secrets.secrets_row(asking(tmp_path, environment=home, wanted=gated))
    assert stored.detail == "HF_TOKEN is not set, a login of the hub is stored"


def test_an_address_that_is_mistyped_is_told() -> None:
    with pytest.raises(EnvironmentLacking, match="nonnumeric port"):
        network.ask("http://127.0.0.1:x")
    with pytest.raises(EnvironmentLacking, match="Invalid IPv6 URL"):
        network.ask("http://[bad")


def test_a_dvc_remote_whose_port_is_no_number(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="its port is no number"):
        remote.remote_row(asking(with_remote(tmp_path, "ssh://host:x/data")))


def test_a_tracking_server_that_hangs_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hanging = threading.Event()
    monkeypatch.setattr(tracking, "PROBE_S", 0.05)
    monkeypatch.setattr(tracking, "require_reachable", lambda uri, timeout_s: hanging.wait(60))
    try:
        with pytest.raises(Warned, match="127"):
            tracking.tracking_row(asking(tmp_path, environment={"MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}))
        (tmp_path / "mlflow.db").write_text("")
        with pytest.raises(EnvironmentLacking):
            tracking.tracking_row(
                asking(tmp_path, environment={"MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path / 'mlflow.db'}"})
            )
    finally:
        hanging.set()


def test_the_network_of_the_partition_of_a_job(tmp_path: Path, closed: str) -> None:
    partitions = {"gpu": {"device": "h100", "gpus_per_node": 4, "cores_per_node": 96, "has_network": False}}
    job = {"SLURM_JOB_ID": "7", "SLURM_JOB_PARTITION": "gpu", "HF_ENDPOINT": closed}
    asked = asking(tmp_path, site=CLUSTER, environment=job, partitions=partitions, compute_has_network=True)
    assert "no network in a job" in network.network_row(asked).detail
    partitions["gpu"]["has_network"] = True
    asked = asking(tmp_path, site=CLUSTER, environment=job, partitions=partitions, compute_has_network=False)
    with pytest.raises(EnvironmentLacking) as raised:
        network.network_row(asked)
    assert raised.value.fix.startswith("write has_network: false (partition gpu) into ")
