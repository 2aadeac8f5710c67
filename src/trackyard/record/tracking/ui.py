"""How the MLflow workbench is served: to this machine only, and to browsers that name it as this machine."""

from __future__ import annotations

import sys

from trackyard.errors import ConfigError
from trackyard.record.tracking.server import ENVIRONMENT, URI_VARIABLE, database
from trackyard.redact import Redactor

UI_ENVIRONMENT = {**ENVIRONMENT, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
"""To be added to the environment of the served program: no telemetry, and none of its eight job workers."""


def ui_argv(tracking_uri: str, port: int) -> list[str]:
    """The program that serves the runs in a sqlite `tracking_uri` at http://127.0.0.1:<port>.

    Raises ConfigError for a port out of range, and for a server, which serves its own pages.
    """
    path = database(tracking_uri)
    if path is None:
        raise ConfigError(
            what=f"{URI_VARIABLE}={Redactor().text(tracking_uri)} is a server",
            why="it shows its runs itself",
            fix=f"open {Redactor().text(tracking_uri)} in a browser",
        )
    if not 1 <= port <= 65535:
        raise ConfigError(
            what=f"port {port}", why="ports run from 1 to 65535", fix="choose another one, for example --port 5000"
        )
    names = [f"{name}:{port}" for name in ("127.0.0.1", "localhost")]
    return [
        *(sys.executable, "-m", "mlflow", "server"),
        # The address of a sqlite file holds no password; that of any other store would not be an argument.
        *("--backend-store-uri", tracking_uri),
        *("--artifacts-destination", str(path.resolve().parent / "mlartifacts")),
        *("--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
        # Other host names are refused: a page elsewhere could otherwise rebind its own name to this server.
        *("--allowed-hosts", ",".join(names)),
        *("--cors-allowed-origins", ",".join(f"http://{name}" for name in names)),
    ]
