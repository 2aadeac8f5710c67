"""What DVC's settings hold of secrets: in which file, and whether those named by a path are there (reliability F24)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from trackyard.errors import ConfigError, EnvironmentLacking
from trackyard.launch.doctor.asked import Asked
from trackyard.launch.doctor.dvc_settings import committed_settings
from trackyard.launch.doctor.remote import remote_of
from trackyard.launch.preflight import Seen, Skipped

SECRET = frozenset(
    ("account_key", "client_secret", "connection_string", "gdrive_client_secret", "oss_key_secret", "passphrase",
     "password", "sas_token", "secret_access_key", "session_token", "sse_customer_key", "token")
)  # fmt: skip
"""Options of DVC whose value is a secret."""
FILES = ("cert_path", "configpath", "credentialpath", "gdrive_service_account_json_file_path", "key_path", "keyfile")
"""Options whose value is the path of a file that holds one."""
KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
STORED = (
    ("AWS_SHARED_CREDENTIALS_FILE", "credentialpath", ".aws/credentials"),
    ("AWS_CONFIG_FILE", "configpath", ".aws/config"),
)
"""Files of keys: a variable that names one, else an option of the remote, else the place below the home directory."""


def dvc_secrets_row(asked: Asked) -> Seen:
    """None is in the file that is committed, those that are named are there, and an S3 store has its keys."""
    if not (asked.root / ".dvc").is_dir():
        raise Skipped("there is no .dvc here")
    _require_uncommitted(asked.root)
    remote = remote_of(asked.root)
    if remote is None:
        return Seen(detail="none in .dvc/config; no remote needs one", examined=1)
    name, settings = remote
    files = [option for option in FILES if settings.get(option)]
    for option in files:
        if not Path(settings[option]).expanduser().is_file():
            raise EnvironmentLacking(
                what=f"{option} of remote {name} is {settings[option]}, and there is no such file",
                why="DVC would look for the secrets of this remote in it",
                fix=f"put the file there, or dvc remote modify --local {name} {option} FILE",
            )
    found = ["none in .dvc/config", *(f"the {option} of remote {name} is there" for option in files)]
    if str(settings["url"]).startswith("s3://"):
        found += _keys(asked.environment, settings)
    return Seen(detail="; ".join(found), examined=len(found))


def _require_uncommitted(root: Path) -> None:
    found = sorted(_held(committed_settings(root), ()))
    if found:
        raise ConfigError(
            what=f".dvc/config holds {', '.join(found)}",
            why="that file is committed, so whoever has the repository has the secret",
            fix=f"{' && '.join(map(_removal, found))}; then write it into .dvc/config.local, which git ignores, "
            "and have the secret replaced: earlier commits keep it",
        )


def _removal(option: str) -> str:
    """A remote without its address is none, so that is replaced."""
    return f"dvc config {option} ADDRESS-WITHOUT-IT" if option.endswith(".url") else f"dvc config --unset {option}"


def _held(settings: Mapping[str, Any], above: tuple[str, ...]) -> Iterator[str]:
    """Options that hold a secret, as `dvc config` names them."""
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from _held(value, (*above, key))
        elif value and (key in SECRET or (key == "url" and urlsplit(str(value)).password)):
            yield ".".join((*above, key))


def named(environment: Mapping[str, str], name: str) -> str:
    """Whether a variable is set; its value is never shown."""
    return f"{name} is {'set' if environment.get(name) else 'not set'}"


def _keys(environment: Mapping[str, str], settings: Mapping[str, Any]) -> list[str]:
    """Those of an S3 remote: DVC's own, else the environment's, else a file's."""
    if settings.get("allow_anonymous_login"):
        return ["the S3 remote is read without keys"]
    if settings.get("access_key_id") and settings.get("secret_access_key"):
        return ["keys of the S3 remote are in .dvc/config.local or the user's configuration of DVC"]
    said = [named(environment, name) for name in KEYS]
    if all(environment.get(name) for name in KEYS):
        return said
    home = Path(environment.get("HOME", "~")).expanduser()
    stored = [
        Path(environment.get(variable) or settings.get(option) or home / place) for variable, option, place in STORED
    ]
    there = [f"{path} is there" for path in stored if path.expanduser().is_file()]
    if not there:
        raise EnvironmentLacking(
            what=f"{', '.join(said)}, and no file of keys is there",
            why="the DVC remote is an S3 store, which nobody reads without keys",
            fix=f"export {' '.join(KEYS)} (from a prompt: read -rs {KEYS[1]}), or write both into "
            ".dvc/config.local (access_key_id, secret_access_key)",
        )
    return said + there
