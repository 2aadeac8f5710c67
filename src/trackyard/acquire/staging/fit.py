"""Room at the target, against what is not staged yet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from trackyard.acquire.places import room
from trackyard.acquire.staging.items import StagingItem, decimal
from trackyard.acquire.staging.records import is_recorded
from trackyard.acquire.staging.roots import Roots


@dataclass(frozen=True, kw_only=True, slots=True)
class Fit:
    """Room at the molmo root, where everything goes that takes its images inside. free_inodes: None where the file
    system does not count them. problems: why it does not fit."""

    free_bytes: int
    free_inodes: int | None
    problems: tuple[str, ...]


def fit(items: Sequence[StagingItem], entries: Sequence[str], target: Roots | None) -> Fit | None:
    """Whether the files of `items` find room at the target; None without a target.

    An upper bound: apparent bytes, and files as they lie now; images inside shards take fewer files.
    """
    if target is None:
        return None
    found = room(target.molmo)
    staged = {name for name in entries if is_recorded(target, name)}
    # What several entries share is listed under the first: it counts until all of them are staged.
    needed = [] if staged == set(entries) else [one for one in items if one.entry not in staged]
    size, files = sum(one.bytes for one in needed), sum(one.files for one in needed)
    problems = []
    if size > found.free_bytes:
        problems.append(f"{decimal(size)} are needed, {decimal(found.free_bytes)} are free at {target.molmo}")
    if found.free_inodes is not None and files > found.free_inodes:
        problems.append(f"{files:,} files are needed, {found.free_inodes:,} inodes are free at {target.molmo}")
    return Fit(free_bytes=found.free_bytes, free_inodes=found.free_inodes, problems=tuple(problems))
