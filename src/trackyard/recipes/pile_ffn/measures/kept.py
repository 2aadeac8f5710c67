"""Measurements that are made once: a result of the same inputs, parameters and code is taken, not computed again.

DVC removes what a stage put out before it runs the stage again; what is kept lies under runs/, so that a stage of
several parts which was cut off goes on with the part that is missing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from trackyard.digest import digest_json, short
from trackyard.durable import write_atomic
from trackyard.recipes.pile_ffn.cells import Cell
from trackyard.recipes.pile_ffn.results import Result, read_result, write_result
from trackyard.recipes.pile_ffn.study import TRACK, Study


def measured(
    study: Study,
    stage: str,
    cell: Cell,
    *,
    inputs: Mapping[str, str],
    make: Callable[[], Mapping[str, Any]],
    slice_digest: str | None,
    precision: Mapping[str, str],
    device: str,
) -> Result:
    """The result of `stage` for `cell`, at `study.document(stage, cell)`; `make` computes its body if it is not kept.

    inputs: blake3 of all files that `make` reads, by path relative to the repository.
    """
    key = digest_json(
        {
            "stage": stage,
            "cell": cell.name,
            "spec": study.spec_digest(stage),
            "inputs": dict(inputs),
            "code": asdict(study.code),
        }
    )
    kept = study.runs / TRACK / "measured" / stage / f"{cell.name}-{short(key)}.json"
    if not kept.exists():
        started = time.monotonic()
        body = make()
        header = study.header(
            stage,
            cell,
            run_id=short(key),
            inputs=inputs,
            slice_digest=slice_digest,
            precision=precision,
            device=device,
            wall_s=time.monotonic() - started,
        )
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_result(kept, stage, header, body)
    result = read_result(kept, stage)
    target = study.document(stage, cell)
    target.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(target, kept.read_bytes())
    return result
