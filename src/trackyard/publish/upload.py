"""The files of a plan to the hub, one by one, and then one commit that makes all of them visible.

What the hub has received it keeps, and says so when it is asked again: a push that was killed goes on where it was,
and one that was finished is not done twice. A repository with other files is refused (`publish.held`). The token comes
from the environment alone, is written nowhere, and goes to the named hub and to no other host.
Source: theworld spec section 11, reliability F24.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from trackyard.errors import ConfigError, DataError, EnvironmentLacking, TrackyardError
from trackyard.publish.held import files_of, lacking, require_arrived, require_room
from trackyard.publish.push import PlannedFile, PushPlan

TOKEN = "HF_TOKEN"
IN_MEMORY = 10 * 10**6
"""Bytes up to which a file is sent from memory: the hub takes such a file inside of the commit."""

MESSAGE = "Export of a finished run"

Say = Callable[[str], None]


def upload(plan: PushPlan, say: Say) -> str:
    """Upload the files of a plan as one commit, and return its id; that of the last one where they are there already.

    The repository is made if it is not there. EnvironmentLacking without a token; ConfigError if the repository holds
    anything else, has another name by now, or is public where the plan is not, or the other way round; DataError if a
    file is not what was planned, here or when it has arrived; TrackyardError for what the hub refuses.
    """
    token = os.environ.get(TOKEN, "").strip()
    if not token:
        raise EnvironmentLacking(
            what=f"{TOKEN} is not set",
            why="the hub accepts uploads of a person who has shown a token, and it is taken from nowhere else",
            fix=f"export {TOKEN}=... in this shell, with a token that may write, then run the same command again",
        )
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    from trackyard.acquire.hub.errors import HUB_FAILURES, refuse_offline

    refuse_offline()
    operations = {file.name: _operation(plan.folder, file) for file in plan.files}
    try:
        with _only_to(plan.endpoint):
            hub = HfApi(endpoint=plan.endpoint, token=token)
            hub.create_repo(plan.repo, private=not plan.public, exist_ok=True)
            before = hub.repo_info(plan.repo, files_metadata=True)
            _require_target(plan, before.id, before.private)
            held = files_of(before)
            require_room(plan, held)
            if not lacking(plan, held):
                return str(before.sha)
            # The largest first: where a push is cut off, it is cut off there.
            for file in sorted(plan.files, key=lambda file: -file.bytes):
                hub.preupload_lfs_files(plan.repo, [operations[file.name]])
                say(f"  {file.bytes:>15,}  {file.name}")
            # Refused by the hub where somebody else has made a commit since it was looked at.
            commit = hub.create_commit(
                plan.repo, list(operations.values()), commit_message=MESSAGE, parent_commit=before.sha
            )
            require_arrived(plan, files_of(hub.repo_info(plan.repo, revision=commit.oid, files_metadata=True)))
    except (*HUB_FAILURES, ValueError) as error:  # ValueError: an answer that the library cannot read
        # Words of the server and of the library may repeat the token, so they are not passed on.
        status = f"HTTP {error.response.status_code}" if isinstance(error, HfHubHTTPError) else type(error).__name__
        raise TrackyardError(
            what=f"the upload to {plan.repo} failed ({status})",
            why="a commit is whole or absent, and so is what can be seen there; what was received is kept",
            fix=f"see that the hub can be reached and that {TOKEN} may write to repositories of that owner, then run "
            "the same command again; at a hub without Xet storage: export HF_HUB_DISABLE_XET=1",
        ) from None
    return str(commit.oid)


def _operation(folder: Path, file: PlannedFile) -> Any:
    """The file as the library wants it; DataError unless it is what was planned."""
    from huggingface_hub import CommitOperationAdd

    path = folder / file.name
    if file.bytes <= IN_MEMORY:
        data = path.read_bytes()
        operation = CommitOperationAdd(path_in_repo=file.name, path_or_fileobj=data)
        found = hashlib.sha256(data).hexdigest()
    else:
        # Only a large file is read again when it is sent, under the digest that is stated here.
        operation = CommitOperationAdd(path_in_repo=file.name, path_or_fileobj=str(path))
        found = operation.upload_info.sha256.hex()
    if found != file.sha256:
        raise DataError(
            what=f"{file.name} has changed since it was searched for secrets",
            why="what is published would not be what was shown",
            fix="run the same command again, beginning with its dry run",
        )
    return operation


def _require_target(plan: PushPlan, name: str, private: bool | None) -> None:
    if name != plan.repo:
        raise ConfigError(
            what=f"the hub calls {plan.repo} {name}",
            why="the files would go to a repository that no dry run has shown",
            fix=f"push with --repo {name}, beginning with a dry run",
        )
    if bool(private) is plan.public:
        found, wanted = ("private", "public") if private else ("public", "private")
        raise ConfigError(
            what=f"{plan.repo} is {found}, this push is to a {wanted} repository",
            why="who may read what is uploaded is decided before, and not by what is there already",
            fix=f"make it {wanted} in its settings, or "
            + ("leave --public out" if plan.public else "push with --public, beginning with a dry run"),
        )


@contextmanager
def _only_to(endpoint: str) -> Iterator[None]:
    """Requests of the library carry the token to the scheme, host and port of `endpoint`, and nowhere else.

    Its session follows redirects, and it sends the token to whatever address the hub names for the check of an upload.
    hf-xet, which sends large files where the hub has Xet storage, is no part of that session, and keeps to this itself.
    """
    import httpx2
    from huggingface_hub.utils import disable_progress_bars  # type: ignore[attr-defined]
    from huggingface_hub.utils._http import default_client_factory, set_client_factory

    own = _origin(httpx2.URL(endpoint))

    def guard(request: httpx2.Request) -> None:
        if _origin(request.url) != own:
            request.headers.pop("Authorization", None)

    def guarded() -> httpx2.Client:
        client = default_client_factory()
        client.event_hooks = {**client.event_hooks, "request": [*client.event_hooks["request"], guard]}
        return client

    disable_progress_bars()
    set_client_factory(guarded)
    try:
        yield
    finally:
        set_client_factory(default_client_factory)


def _origin(url: Any) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port or {"http": 80, "https": 443}.get(url.scheme)
