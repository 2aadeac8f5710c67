"""Whether the DVC remote of this repository can be reached, and with which secrets."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from trackyard.errors import ConfigError, EnvironmentLacking
from trackyard.launch.doctor.asked import Asked
from trackyard.launch.doctor.bounded import within
from trackyard.launch.doctor.dvc_settings import dvc_settings
from trackyard.launch.preflight import Seen, Skipped
from trackyard.redact import Redactor

PROBE_S = 4.0
_PORTS = {"ssh": 22, "http": 80, "https": 443, "webdavs": 443, "webdav": 80}


def remote_of(root: Path) -> tuple[str, Mapping[str, Any]] | None:
    """Name and settings of the default remote; None where there is none. ConfigError for a name without settings."""
    if not (root / ".dvc").is_dir():
        return None
    settings = dvc_settings(root)
    name = settings["core"].get("remote")
    if name is None:
        return None
    if name not in settings["remote"]:
        raise ConfigError(
            what=f"the default DVC remote {name!r} is not configured",
            why=f"there are {', '.join(settings['remote']) or 'none'}",
            fix="dvc remote add -d NAME URL",
        )
    return name, settings["remote"][name]


def remote_row(asked: Asked) -> Seen:
    """The default remote answers: a folder is there, a bucket may be read, a host takes a connection."""
    found = remote_of(asked.root)
    if found is None:
        raise Skipped("no DVC remote is configured")
    name, settings = found
    url = str(settings["url"])
    parts = urlsplit(url)
    shown = f"remote {name}, {Redactor().text(url)}"
    if parts.scheme in ("", "local", "file"):
        if not Path(parts.path).is_dir():
            raise _lacking(shown, "there is no such folder")
        return Seen(detail=f"{shown} is there", examined=1)
    if parts.scheme == "s3":
        # Its import takes as long as an answer may, where the disk is slow.
        client = _client(settings, asked.environment, shown)
        call = lambda: _bucket(client, parts.netloc, shown)  # noqa: E731
    elif parts.scheme in _PORTS:
        try:
            port = int(settings.get("port") or parts.port or _PORTS[parts.scheme])
        except ValueError as error:
            raise ConfigError(what=f"{shown}: its port is no number", why=_WHY, fix=_FIX) from error
        call = lambda: _connects(parts.hostname or "", port, shown)  # noqa: E731
    else:
        raise Skipped(f"{shown}: nothing here asks {parts.scheme}; dvc status --cloud does")
    within(PROBE_S, call, what=shown, why=_WHY, fix=_FIX)
    return Seen(detail=f"{shown} answers", examined=1)


_WHY = "what DVC keeps can neither be pulled nor pushed"
_FIX = "dvc remote modify --local NAME url URL, or export the keys that it needs; dvc status --cloud asks it again"


def _lacking(shown: str, reason: str) -> EnvironmentLacking:
    return EnvironmentLacking(what=f"{shown}: {reason}", why=_WHY, fix=_FIX)


def _connects(host: str, port: int, shown: str) -> None:
    try:
        socket.create_connection((host, port), timeout=PROBE_S).close()
    except OSError as error:
        raise _lacking(shown, str(error)) from error


def _client(settings: Mapping[str, Any], environment: Mapping[str, str], shown: str) -> Any:
    """Of S3, with the keys that DVC would use: those of its settings, else of the environment, else of the files that
    either names."""
    import boto3
    import botocore.session
    from botocore import UNSIGNED
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError

    known = botocore.session.Session()
    for variable, option, own in (
        ("AWS_SHARED_CREDENTIALS_FILE", "credentialpath", "credentials_file"),
        ("AWS_CONFIG_FILE", "configpath", "config_file"),
    ):
        if settings.get(option) and not environment.get(variable):
            known.set_config_variable(own, settings[option])
    unsigned = UNSIGNED if settings.get("allow_anonymous_login") else None
    try:
        session = boto3.Session(
            botocore_session=known,
            aws_access_key_id=settings.get("access_key_id"),
            aws_secret_access_key=settings.get("secret_access_key"),
            aws_session_token=settings.get("session_token"),
            region_name=settings.get("region") or "us-east-1",
            profile_name=settings.get("profile"),
        )
        return session.client(
            "s3",
            endpoint_url=settings.get("endpointurl"),
            verify=settings.get("ssl_verify"),
            config=Config(
                connect_timeout=2, read_timeout=2, retries={"total_max_attempts": 1}, signature_version=unsigned
            ),
        )
    # An address that is none is no error of botocore's own.
    except (BotoCoreError, ValueError) as error:
        raise _lacking(shown, Redactor().text(str(error))) from error


def _bucket(client: Any, name: str, shown: str) -> None:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        client.head_bucket(Bucket=name)
    except ClientError as error:
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        said = {403: "these keys may not read it (HTTP 403)", 404: "there is no such bucket (HTTP 404)"}
        raise _lacking(shown, said.get(status, f"HTTP {status}")) from error
    except (BotoCoreError, ValueError) as error:
        raise _lacking(shown, Redactor().text(str(error))) from error
