"""What a repository of the hub holds: nothing of somebody else is written over, and what arrived is what was sent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trackyard.acquire.hub.files import RemoteFile
from trackyard.errors import ConfigError, DataError
from trackyard.publish.push import PlannedFile, PushPlan

OF_THE_HUB = ".gitattributes"
"""The hub puts it into every repository that it makes."""
SHOWN = 5
"""Names that an error lists."""


def files_of(info: Any) -> dict[str, RemoteFile]:
    """The files of a commit, by name. DataError without digests. info: of `HfApi.repo_info`, with metadata of files."""
    return {
        one.rfilename: RemoteFile(
            path=one.rfilename,
            bytes=one.size,
            sha256=one.lfs.sha256 if one.lfs else None,
            git_sha1=None if one.lfs else one.blob_id,
        )
        for one in info.siblings or ()
    }


def lacking(plan: PushPlan, held: Mapping[str, RemoteFile]) -> list[str]:
    """Files of the plan that are not there, or are there with other bytes."""
    return [file.name for file in plan.files if not _same(plan, file, held.get(file.name))]


def _same(plan: PushPlan, file: PlannedFile, there: RemoteFile | None) -> bool:
    if there is None or there.sha256 is not None:
        return there is not None and there.sha256 == file.sha256
    return there.fault(plan.folder / file.name, full=True) is None


def require_room(plan: PushPlan, held: Mapping[str, RemoteFile]) -> None:
    """ConfigError unless the repository is empty, but for files of the plan with the very bytes of the plan.

    A file that the plan has not would stay beside the export and be loaded with it, such as a shard of other weights.
    """
    sent = {file.name for file in plan.files}
    others = sorted(((held.keys() - sent) | (held.keys() & lacking(plan, held))) - {OF_THE_HUB})
    if others:
        raise ConfigError(
            what=f"{plan.repo} holds {len(others)} other files: {_listed(others)}",
            why="this export would be mixed with them, or written over them",
            fix="push to a repository of its own, beginning with a dry run; or, if they may go (its history keeps "
            f"them): {_emptying(plan)}",
        )


def require_arrived(plan: PushPlan, held: Mapping[str, RemoteFile]) -> None:
    """DataError unless the commit holds every file of the plan, as it was planned."""
    absent = lacking(plan, held)
    if absent:
        raise DataError(
            what=f"{plan.repo} took the commit, and lacks {len(absent)} files of it: {_listed(absent)}",
            why="what is to be seen there is no whole export",
            fix=f"remove what is there, then run the same command again: {_emptying(plan)}",
        )


def _emptying(plan: PushPlan) -> str:
    return f"HF_ENDPOINT={plan.endpoint} hf repos delete-files {plan.repo} '*'"


def _listed(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
