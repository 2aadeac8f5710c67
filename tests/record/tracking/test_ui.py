"""The workbench is served to this machine only."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from trackyard.errors import ConfigError
from trackyard.record.tracking.ui import UI_ENVIRONMENT, ui_argv


def test_the_program(tmp_path: Path) -> None:
    assert ui_argv(f"sqlite:///{tmp_path}/mlflow.db", 5001) == [
        sys.executable,
        "-m",
        "mlflow",
        "server",
        "--backend-store-uri",
        f"sqlite:///{tmp_path}/mlflow.db",
        "--artifacts-destination",
        f"{tmp_path}/mlartifacts",
        "--host",
        "127.0.0.1",
        "--port",
        "5001",
        "--workers",
        "1",
        "--allowed-hosts",
        "127.0.0.1:5001,localhost:5001",
        "--cors-allowed-origins",
        "http://127.0.0.1:5001,http://localhost:5001",
    ]
    assert UI_ENVIRONMENT["MLFLOW_DISABLE_TELEMETRY"] == "true"


def test_a_server_shows_its_own_pages() -> None:
    with pytest.raises(ConfigError) as raised:
        ui_argv("http://u:" + "pw" * 6 + "@tracking.example.org:5000", 5001)
    assert raised.value.fix == "open http://[redacted]@tracking.example.org:5000 in a browser"


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_a_port_that_is_none(port: int) -> None:
    with pytest.raises(ConfigError, match=f"port {port}"):
        ui_argv("sqlite:////x/mlflow.db", port)
