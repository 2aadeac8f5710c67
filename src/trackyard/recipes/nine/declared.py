"""What each stage of the track's dvc.yaml depends on, as files of their own."""

from __future__ import annotations

from collections.abc import Callable

from trackyard.recipes.declared import write_declared
from trackyard.recipes.nine.parameters import SECTIONS
from trackyard.recipes.nine.study import LIBRARIES, Study

SCHEMA = "trackyard-nine-parameters/1"


def declare(study: Study, say: Callable[[str], None]) -> None:
    """Write artifacts/nine/parameters/<stage>.json for every stage."""
    results = {stage: (stage,) for stage in SECTIONS}
    written = write_declared(study.artifacts / "parameters", SCHEMA, results, study.parameters.sections, LIBRARIES)
    say(f"declared  what decides each of {written} stages; tasks: {', '.join(study.tasks)}")
