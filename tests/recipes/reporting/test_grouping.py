"""Runs of a study are grouped by what they have in common."""

from __future__ import annotations

import re

from trackyard.recipes.reporting.grouping import arm_tags, study_group


def test_the_group_follows_from_what_decides_the_study_in_any_order() -> None:
    group = study_group({"training": {"steps": 6}, "model": "tiny"})
    assert re.fullmatch("study [0-9a-f]{8}", group)
    assert study_group({"model": "tiny", "training": {"steps": 6}}) == group
    assert study_group({"model": "tiny", "training": {"steps": 7}}) != group


def test_tags_of_an_arm() -> None:
    assert arm_tags("study 12ab34cd", "baseline", 42) == {
        "trackyard.arm": "baseline",
        "trackyard.seed": "42",
        "trackyard.group": "study 12ab34cd/arm baseline",
    }
