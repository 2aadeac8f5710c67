"""Which results each stage of the study's dvc.yaml puts out, and the files that declare what decides them."""

from __future__ import annotations

from collections.abc import Mapping

from trackyard.recipes.declared import write_declared
from trackyard.recipes.pile_ffn.study import LIBRARIES, Study

SCHEMA = "trackyard-pile-ffn-parameters/1"
RESULTS: Mapping[str, tuple[str, ...]] = {
    **{stage: (stage,) for stage in ("fetch", "tokenize", "untouched", "init", "train", "degrade", "aggregate")},
    "evaluate": ("eval_ppl", "eval_bench", "probe_order"),
    "attack": ("attack_uat", "attack_hotflip"),
    "transfer": ("attack_transfer",),
}
"""Results of each stage of dvc.yaml, by the names that they have in `parameters.SECTIONS`."""


def declare(study: Study) -> int:
    """Write artifacts/pile_ffn/parameters/<stage>.json for every stage, and return how many."""
    return write_declared(study.artifacts / "parameters", SCHEMA, RESULTS, study.parameters.sections, LIBRARIES)
