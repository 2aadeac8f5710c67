"""Files to a private repository of the hub: shown and searched for secrets first, and uploaded as one commit.

    plan = plan_push({"README.md": card, "model.safetensors": weights}, "owner/name")
    push(plan, endpoint=None)

The token comes from the environment alone and is written nowhere. Source: theworld spec section 11, reliability F24.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from trackyard.digest import digest_bytes, digest_json
from trackyard.errors import ConfigError, DataError, EnvironmentLacking, TrackyardError
from trackyard.redact import SHORTEST, Redactor

TOKEN = "HF_TOKEN"
_REPO = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_PRINTABLE = re.compile(rb"[\x20-\x7e]{%d,}" % SHORTEST)
_EMAIL = re.compile(r"\b[\w.+-]{2,}@[A-Za-z0-9-]{2,}(?:\.[A-Za-z0-9-]{2,})+\b")
_HOME = re.compile(r"(?:^|[\s\"'=:(`])(/(?:home|Users)/[^/\s\"']+|/root)/")


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedFile:
    """name: in the repository. digest: blake3."""

    name: str
    bytes: int
    digest: str


@dataclass(frozen=True, kw_only=True, slots=True)
class PushPlan:
    """What would be uploaded, and from where. Every file of it was searched for secrets."""

    repo: str
    files: tuple[PlannedFile, ...]
    paths: Mapping[str, Path]

    @property
    def digest(self) -> str:
        """Of repository, names and contents: a push is of exactly what was shown."""
        return digest_json({"repo": self.repo, "files": [asdict(file) for file in self.files]})

    @property
    def bytes(self) -> int:
        return sum(file.bytes for file in self.files)


def plan_push(paths: Mapping[str, Path], repo: str) -> PushPlan:
    """Read and search every file; nothing is sent. paths: by name in the repository.

    ConfigError for what is no repository's name, DataError for a file that is absent or holds a secret, an address of a
    person, or a path of a home folder; what was found is never repeated.
    """
    if not _REPO.fullmatch(repo):
        raise ConfigError(
            what=f"{repo!r} is no repository",
            why="a repository of the hub is owner/name",
            fix="correct publish.repo of the track in params.yaml",
        )
    redactor, files = Redactor(), []
    for name, path in sorted(paths.items()):
        try:
            data = path.read_bytes()
        except OSError as error:
            raise DataError(
                what=f"{name} cannot be read: {error.strerror}",
                why="an export is published whole or not at all",
                fix="run the stage that makes it again",
            ) from error
        found = secret_in(data, redactor)
        if found is not None:
            raise DataError(
                what=f"{name} holds {found}",
                why="what was uploaded once is read by others, and stays in the history of the repository",
                fix=f"remove it from what {name} is made of, and make it again; if it is a token, revoke it",
            )
        files.append(PlannedFile(name=name, bytes=len(data), digest=digest_bytes(data)))
    return PushPlan(repo=repo, files=tuple(files), paths=dict(paths))


def secret_in(data: bytes, redactor: Redactor) -> str | None:
    """What must not be published, in words without its value; None if nothing of the kind is there.

    All printable text of at least SHORTEST characters is searched, in binary files too.
    """
    text = "\n".join(run.decode("ascii") for run in _PRINTABLE.findall(data))
    if redactor.text(text) != text:
        return "a secret"
    if _EMAIL.search(text):
        return "an e-mail address"
    return "a path of a home folder" if _HOME.search(text) else None


def push(plan: PushPlan, *, endpoint: str | None = None) -> str:
    """Upload the files of a plan as one commit, and return its id. endpoint: of the hub, None for its own.

    The repository is made if it is not there, private. EnvironmentLacking without a token, ConfigError if it is public,
    DataError if a file is not what was planned, TrackyardError for what the hub refuses.
    """
    token = os.environ.get(TOKEN)
    if not token:
        raise EnvironmentLacking(
            what=f"{TOKEN} is not set",
            why="the hub accepts uploads of a person who has shown a token, and it is taken from nowhere else",
            fix=f"export {TOKEN}=... in this shell, with a token that may write, then run the same command again",
        )
    from huggingface_hub import CommitOperationAdd, HfApi
    from huggingface_hub.errors import HfHubHTTPError

    from trackyard.acquire.hub.errors import HUB_FAILURES

    operations = []
    for file in plan.files:
        data = plan.paths[file.name].read_bytes()
        if digest_bytes(data) != file.digest:
            raise DataError(
                what=f"{file.name} has changed since it was searched for secrets",
                why="what is published would not be what was shown",
                fix="run the same command again, beginning with its dry run",
            )
        operations.append(CommitOperationAdd(path_in_repo=file.name, path_or_fileobj=data))
    hub = HfApi(endpoint=endpoint, token=token)
    try:
        hub.create_repo(plan.repo, private=True, exist_ok=True)
        if not hub.repo_info(plan.repo).private:
            raise ConfigError(
                what=f"{plan.repo} is public",
                why="exports are pushed to private repositories only; whether to publish is decided on its page",
                fix="make it private in its settings, or name another one in publish.repo",
            )
        return str(hub.create_commit(plan.repo, operations, commit_message="Export of a finished run").oid)
    except HUB_FAILURES as error:
        # Words of the server and of the library may repeat the token, so they are not passed on.
        status = f"HTTP {error.response.status_code}" if isinstance(error, HfHubHTTPError) else type(error).__name__
        raise TrackyardError(
            what=f"the upload to {plan.repo} failed ({status})",
            why="nothing of it is there: a commit is whole or absent",
            fix=f"see that the hub can be reached and that {TOKEN} may write to repositories of that owner, then run "
            "the same command again",
        ) from None
