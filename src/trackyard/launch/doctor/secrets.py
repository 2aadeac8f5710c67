"""Which secrets are there, of those that are needed; their values are never looked at here (reliability F23, F24)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from trackyard.errors import EnvironmentLacking
from trackyard.launch.doctor.asked import Asked
from trackyard.launch.doctor.network import is_offline
from trackyard.launch.doctor.remote import remote_of
from trackyard.launch.preflight import Seen
from trackyard.record.tracking.server import database, tracking_uri

TOKEN = "HF_TOKEN"
TRACKING = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")
KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")


def secrets_row(asked: Asked) -> Seen:
    """Each variable that may be needed here, set or not; gated data need a token before a GPU is asked for."""
    environment, found = asked.environment, [_token(asked)]
    if database(tracking_uri(asked.root, environment)) is None:
        found += [_named(environment, name) for name in TRACKING]
    remote = remote_of(asked.root)
    if remote is not None and str(remote[1]["url"]).startswith("s3://"):
        found += _keys(environment, remote[1])
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


def _named(environment: Mapping[str, str], name: str) -> str:
    return f"{name} is {'set' if environment.get(name) else 'not set'}"


def _keys(environment: Mapping[str, str], settings: Mapping[str, object]) -> list[str]:
    """Those of an S3 remote: DVC's own, else the environment's, else a file of the user."""
    if settings.get("access_key_id") and settings.get("secret_access_key"):
        return ["keys of the DVC remote are in its configuration"]
    stored = Path(
        environment.get("AWS_SHARED_CREDENTIALS_FILE") or Path(environment.get("HOME", "~")) / ".aws/credentials"
    )
    if not all(environment.get(name) for name in KEYS) and not stored.expanduser().is_file():
        raise EnvironmentLacking(
            what=f"{', '.join(_named(environment, name) for name in KEYS)}, and no file of keys is there",
            why="the DVC remote is an S3 store, which nobody reads without keys",
            fix=f"export {' '.join(KEYS)} (from a prompt: read -rs {KEYS[1]}), or write both into "
            ".dvc/config.local (access_key_id, secret_access_key)",
        )
    return [_named(environment, name) for name in KEYS]
