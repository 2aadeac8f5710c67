"""The init stage: what each trained arm constrains, printed, counted and kept; later compared with what is trained.

Source: pile-ffn spec sections 2 to 4 and 10.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from trackyard.digest import digest_json, short
from trackyard.models.nonneg_variants import Declaration
from trackyard.recipes.pile_ffn.cells import UNTOUCHED, Arm, Cell
from trackyard.recipes.pile_ffn.results import read_result, write_result
from trackyard.recipes.pile_ffn.study import Study

STAGE = "init"
PRECISION = {"weights": "fp32", "inverse": "fp64"}


def init(study: Study, say: Callable[[str], None]) -> None:
    """Declare every trained arm. ConfigError, with what the model has, for one whose matrices are not found.

    All arms are tried before anything is written: a table of some of them would not be the study's.
    """
    from transformers.utils.logging import disable_progress_bar

    from trackyard.recipes.pile_ffn.arms.original import require_original
    from trackyard.recipes.pile_ffn.measures.exports import export_inputs

    disable_progress_bar()
    require_original(study)
    inputs = export_inputs(study, Cell(arm=UNTOUCHED, seed=None))
    declared = {name: _declared(study, Arm.named(name)) for name in study.parameters.arms}
    for name, (body, seconds) in declared.items():
        cell = Cell(arm=name, seed=None)
        header = study.header(
            STAGE,
            cell,
            run_id=short(digest_json({"arm": name, "inputs": inputs})),
            inputs=inputs,
            slice_digest=None,
            precision=PRECISION,
            device="cpu",
            wall_s=seconds,
        )
        study.document(STAGE, cell).parent.mkdir(parents=True, exist_ok=True)
        write_result(study.document(STAGE, cell), STAGE, header, body)
        for line in _lines(name, body):
            say(line)


def declaration_of(study: Study, arm: Arm) -> Declaration | None:
    """What `init` declared for an arm; None for the baseline. DataError if it has not run."""
    body = read_result(study.document(STAGE, Cell(arm=arm.name, seed=None)), STAGE).body
    found = body["declaration"]
    return None if found is None else Declaration.of_json(found)


def _declared(study: Study, arm: Arm) -> tuple[dict[str, Any], float]:
    """The body of an arm's result, and the seconds that it took. The model is loaded anew for each."""
    from trackyard.recipes.pile_ffn.arms.starting import start_of
    from trackyard.recipes.pile_ffn.cost.architectures import count

    started = time.monotonic()
    start = start_of(study, arm)
    counts = count(start.model)
    body: dict[str, Any] = {"params_total": counts.total, "params_ffn": counts.ffn}
    if start.constrained is None:
        nothing = {"matched": 0, "expected": 0, "names": [], "min": None, "max": None}
        body |= nothing | {"roundtrip_rel_max": None, "sign_flip_fraction": 0.0, "declaration": None}
    else:
        body |= start.constrained.to_json()
    return body, time.monotonic() - started


def _lines(name: str, body: dict[str, Any]) -> list[str]:
    """For people: the total first, then every matrix."""
    if body["declaration"] is None:
        return [f"{name}: no matrix constrained, {body['params_total']:,} parameters trained"]
    return Declaration.of_json(body["declaration"]).lines()
