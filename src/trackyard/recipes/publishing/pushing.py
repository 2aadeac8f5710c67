"""An exported folder to a hub: off by default, and only what a dry run of exactly these bytes has shown.

Source: theworld spec section 11.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path

from trackyard.errors import ConfigError, DataError
from trackyard.publish.checksums import require_unchanged
from trackyard.publish.push import PushPlan, hub_endpoint, plan_push
from trackyard.publish.search import machine_paths
from trackyard.publish.upload import upload
from trackyard.schema import read_document, write_document

SCHEMA = "trackyard-push/1"
SEARCHED = "secrets, e-mail addresses, paths of home folders, absolute paths"

Say = Callable[[str], None]


def push_folder(
    folder: Path,
    repo: str,
    root: Path,
    say: Say,
    *,
    endpoint: str | None = None,
    public: bool = False,
    really: bool = False,
) -> None:
    """Show what would be uploaded, or upload what was shown. root: of the repository, where it is kept what was shown.

    endpoint: of the hub, None for $HF_ENDPOINT or the public one. ConfigError without a dry run of the same bytes,
    DataError for a folder that is not as it was exported; else as `plan_push` and `upload`.
    """
    if not folder.is_dir():
        raise DataError(
            what=f"{folder} is no folder",
            why="an exported folder is pushed as a whole",
            fix=f"trackyard publish export TRACK/NAME {shlex.quote(str(folder))}",
        )
    plan = plan_push(folder, repo, endpoint=hub_endpoint(endpoint), public=public, machine=machine_paths(root))
    require_unchanged(folder, {file.name: (file.bytes, file.blake3, file.sha256) for file in plan.files})
    shown = root / "runs" / "publish" / f"{repo.replace('/', '--')}.json"
    command = _command(folder, repo, endpoint, public)
    who = "everybody may read it" if public else "private"
    if not really:
        for file in plan.files:
            say(f"  {file.bytes:>15,}  {file.sha256[:12]}  {file.name}")
        say(f"searched  {plan.bytes:,} bytes for {SEARCHED}: none")
        write_document(shown, SCHEMA, {"plan": plan.digest})
        say(f"push      {_words(plan)} would go to {plan.endpoint}/{repo}, {who}; nothing was sent")
        say(f"          {command} --really   sends it")
        return
    if not shown.is_file() or read_document(shown, SCHEMA, fix=command).get("plan") != plan.digest:
        raise ConfigError(
            what=f"no dry run has shown these files of {folder} for {plan.endpoint}/{repo}, {who}",
            why="what was uploaded once is read by others: it is looked at first",
            fix=command,
        )
    commit = upload(plan, say)
    say(f"push      {_words(plan)} are at {plan.endpoint}/{repo}, commit {commit}")


def _words(plan: PushPlan) -> str:
    return f"{len(plan.files)} files, {plan.bytes:,} bytes,"


def _command(folder: Path, repo: str, endpoint: str | None, public: bool) -> str:
    chosen = f"{f' --endpoint {hub_endpoint(endpoint)}' if endpoint else ''}{' --public' if public else ''}"
    return f"trackyard publish push {shlex.quote(str(folder))} --repo {repo}{chosen}"
