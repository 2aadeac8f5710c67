"""A folder on its way to a repository of the hub: what would be sent, shown and searched before anything is sent.

    plan = plan_push(folder, "owner/name", endpoint=hub_endpoint(None), machine=machine_paths(root))
    upload(plan, say)                                    # publish.upload

Source: theworld spec section 11, reliability F24.
"""

from __future__ import annotations

import hashlib
import os
import shlex
from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from blake3 import blake3

from trackyard.digest import digest_json
from trackyard.errors import ConfigError, DataError
from trackyard.publish.search import blocks_of, secret_in
from trackyard.redact import Redactor

HUB = "https://huggingface.co"
ENDPOINT = "HF_ENDPOINT"
LOOPBACK = ("127.0.0.1", "::1", "localhost")
"""Hosts that a token reaches without crossing a network."""
LARGEST = 50 * 10**9
"""Bytes of one file that the hub takes (its page on storage limits)."""
MOST = 10_000
"""Files of one folder that the hub takes (the same page)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedFile:
    """name: in the repository. blake3, sha256: of its bytes; the hub names large files by the second."""

    name: str
    bytes: int
    blake3: str
    sha256: str


@dataclass(frozen=True, kw_only=True, slots=True)
class PushPlan:
    """What would be uploaded, where to, and whether everybody may read it. Every file was searched for secrets."""

    folder: Path
    repo: str
    endpoint: str
    public: bool
    files: tuple[PlannedFile, ...]

    @property
    def digest(self) -> str:
        """Of target, names and contents: a push is of exactly what was shown."""
        where = {"repo": self.repo, "endpoint": self.endpoint, "public": self.public}
        return digest_json(where | {"files": [asdict(file) for file in self.files]})

    @property
    def bytes(self) -> int:
        return sum(file.bytes for file in self.files)


def hub_endpoint(given: str | None) -> str:
    """Address of the hub: `given`, else $HF_ENDPOINT, else the public hub. ConfigError for what is no plain address."""
    address = given or os.environ.get(ENDPOINT) or HUB
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ConfigError(
            what="the address of the hub is not of the form https://host, http://host:port or one with a path",
            why="the token and all files would go there",
            fix=f"correct --endpoint, or {ENDPOINT} in the environment",
        )
    if "@" in parts.netloc:
        raise ConfigError(
            what=f"the address of the hub at {parts.hostname} holds a user or a password",
            why="addresses are written to logs and process lists; the token is taken from HF_TOKEN alone",
            fix=f"leave everything before the @ out of --endpoint or {ENDPOINT}",
        )
    if parts.scheme == "http" and parts.hostname not in LOOPBACK:
        raise ConfigError(
            what=f"the hub at {parts.hostname} is asked over http",
            why="the token would cross the network for everyone to read",
            fix=f"--endpoint https://{host}, or a tunnel: ssh -L 8080:{host}:{port or 80} <host>",
        )
    if parts.scheme == "http" and _is_proxied(parts.hostname):
        raise ConfigError(
            what=f"HTTP_PROXY or ALL_PROXY is set, and NO_PROXY does not name {parts.hostname}",
            why="the token would go to the proxy, for everyone between here and there to read",
            fix=f'export NO_PROXY="$NO_PROXY,{parts.hostname}"; export no_proxy="$NO_PROXY"',
        )
    return f"{parts.scheme}://{host}{'' if port is None else f':{port}'}{parts.path.rstrip('/')}"


def _is_proxied(host: str) -> bool:
    """Whether the environment sends requests over http to this host by way of a proxy."""
    return not getproxies().keys().isdisjoint(("http", "all")) and not proxy_bypass(host)


def plan_push(
    folder: Path, repo: str, *, endpoint: str, public: bool = False, machine: Collection[str] = ()
) -> PushPlan:
    """Read, hash and search every file of a folder; nothing is sent. machine: from `search.machine_paths`.

    ConfigError for what is no repository's name, DataError for a folder without files, a link in it, a file that the
    hub would not take, or one that holds a secret, an address of a person, or an absolute path, in its name or in its
    bytes; what was found is never repeated.
    """
    _require_repository(repo, folder)
    names = _names(folder)
    if not names:
        raise DataError(
            what=f"{folder} holds no file",
            why="a push of nothing would leave an empty repository",
            fix=f"remove the empty folder, then: trackyard publish export TRACK/NAME {shlex.quote(str(folder))}",
        )
    _refuse_crowds(names)
    redactor = Redactor()
    for number, name in enumerate(names, start=1):
        found = secret_in(name.encode(errors="replace"), redactor, machine)
        _refuse(found, f"the name of file {number} of {len(names)}", "give the file another name, and export again")
    files = tuple(_planned(folder, name, redactor, machine) for name in names)
    return PushPlan(folder=folder, repo=repo, endpoint=endpoint, public=public, files=files)


def _require_repository(repo: str, folder: Path) -> None:
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    try:
        validate_repo_id(repo)
        named = repo.count("/") == 1
    except HFValidationError:
        named = False
    if not named:
        raise ConfigError(
            what=f"{repo!r} is no repository",
            why="a repository of the hub is owner/name, of letters, digits, '-', '_' and '.'",
            fix=f"trackyard publish push {shlex.quote(str(folder))} --repo owner/name",
        )


def _refuse(found: str | None, where: str, fix: str) -> None:
    if found is not None:
        raise DataError(
            what=f"{where} holds {found}",
            why="what was uploaded once is read by others, and stays in the history of the repository",
            fix=fix,
        )


def _names(folder: Path) -> list[str]:
    paths = sorted(folder.rglob("*"))
    link = next((path for path in paths if path.is_symlink()), None)
    if link is not None:
        raise DataError(
            what=f"{link.relative_to(folder)} is a link",
            why="what it points to may lie outside of the folder, and change",
            fix="put the file itself there: trackyard publish export TRACK/NAME OUT makes a folder of files",
        )
    return [path.relative_to(folder).as_posix() for path in paths if path.is_file()]


def _refuse_crowds(names: Collection[str]) -> None:
    counts: dict[str, int] = {}
    for name in names:
        above = name.rpartition("/")[0]
        counts[above] = counts.get(above, 0) + 1
    above, most = max(counts.items(), key=lambda item: item[1])
    if most > MOST:
        raise DataError(
            what=f"{most:,} files in {above or 'one folder'}",
            why=f"the hub takes {MOST:,} files in one folder",
            fix="put them into archives or shards",
        )


def _planned(folder: Path, name: str, redactor: Redactor, machine: Collection[str]) -> PlannedFile:
    path, one, other = folder / name, blake3(), hashlib.sha256()
    try:
        size = path.stat().st_size
        if size > LARGEST:
            raise DataError(
                what=f"{name} has {size:,} bytes",
                why=f"the hub takes {LARGEST:,} bytes in one file",
                fix="write the weights in smaller shards, then export again",
            )
        for block, before in blocks_of(path):
            own = memoryview(block)[before:]
            one.update(own)
            other.update(own)
            _refuse(
                secret_in(block, redactor, machine), name,
                f"remove it from what {name} is made of, and make it again; if it is a token, revoke it",
            )  # fmt: skip
    except OSError as error:
        raise DataError(
            what=f"{name} cannot be read: {error.strerror}",
            why="an export is published whole or not at all",
            fix=f"trackyard publish export TRACK/NAME OUT, and push OUT in place of {folder}",
        ) from error
    return PlannedFile(name=name, bytes=size, blake3=one.hexdigest(), sha256=other.hexdigest())
