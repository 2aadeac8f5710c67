"""Which results each stage of the track's dvc.yaml puts out, and the files that declare what decides them."""

from __future__ import annotations

from collections.abc import Mapping

from trackyard.recipes.datacomp.study import EVALUATIONS, LIBRARIES, Study
from trackyard.recipes.declared import write_declared

SCHEMA = "trackyard-datacomp-parameters/1"
_ALONE = (
    "metadata", "select", "download", "models", "eval_data", "curate", "latents", "eval_latents", "train", "compare",
)  # fmt: skip
RESULTS: Mapping[str, tuple[str, ...]] = {
    **{stage: (stage,) for stage in _ALONE},
    "evaluate": ("audit_branch", *EVALUATIONS.values()),
}
"""Results of each stage of dvc.yaml, by the names that they have in `parameters.SECTIONS`."""


def declare(study: Study) -> int:
    """Write artifacts/datacomp/parameters/<stage>.json for every stage, and return how many."""
    return write_declared(study.artifacts / "parameters", SCHEMA, RESULTS, study.parameters.sections, LIBRARIES)
