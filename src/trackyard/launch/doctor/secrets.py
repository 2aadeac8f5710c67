"""Which secrets are there, of those that are needed; their values are never looked at here (reliability F23, F24)."""

from __future__ import annotations

from pathlib import Path

from trackyard.errors import EnvironmentLacking
from trackyard.launch.doctor.asked import Asked
from trackyard.launch.doctor.dvc_secrets import named
from trackyard.launch.doctor.network import is_offline
from trackyard.launch.preflight import Seen
from trackyard.record.tracking.server import database, tracking_uri

TOKEN = "HF_TOKEN"
TRACKING = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")


def secrets_row(asked: Asked) -> Seen:
    """Each variable that a hub or a server may need, set or not; gated data need a token before a GPU is asked for."""
    environment, found = asked.environment, [_token(asked)]
    if database(tracking_uri(asked.root, environment)) is None:
        found += [named(environment, name) for name in TRACKING]
    return Seen(detail="; ".join(found), examined=len(found))


def _token(asked: Asked) -> str:
    environment = asked.environment
    home = Path(environment.get("HF_HOME") or Path(environment.get("HOME", "~")).expanduser() / ".cache/huggingface")
    login = Path(environment.get("HF_TOKEN_PATH") or home / "token")
    if environment.get(TOKEN):
        said = f"{TOKEN} is set"
    elif login.is_file():
        said = f"{TOKEN} is not set, a login of the hub is stored"
    else:
        said = f"{TOKEN} is not set"
        if asked.wanted is not None and asked.wanted.gated:
            raise EnvironmentLacking(
                what=f"{said}, and {asked.wanted.name} needs {', '.join(asked.wanted.gated)}, which is gated",
                why="its files are handed out to those who accepted its terms, and the job would stop without them",
                fix=f"accept the terms on the page of each, then export {TOKEN} (from a prompt: read -rs {TOKEN}), and "
                "`trackyard data fetch NAME`"
                + (" on a machine with a network" if is_offline(environment) else "")
                + "; a model comes with the fetching stage of its track",
            )
    return said
