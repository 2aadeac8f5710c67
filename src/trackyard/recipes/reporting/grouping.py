"""Tags that put the runs of a study into a tree and into filters: which study, which arm, which seed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trackyard.digest import digest_json
from trackyard.record.tracking.tree import GROUP_TAG

ARM, SEED = "trackyard.arm", "trackyard.seed"
_CHARACTERS = 8


def study_group(decided_by: Mapping[str, Any]) -> str:
    """The outermost group. decided_by: parameters of the study, without what differs between its arms and seeds."""
    return f"study {digest_json(dict(decided_by))[:_CHARACTERS]}"


def arm_tags(group: str, arm: str, seed: int) -> dict[str, str]:
    """Of a run of one arm at one seed."""
    return {ARM: arm, SEED: str(seed), GROUP_TAG: f"{group}/arm {arm}"}
