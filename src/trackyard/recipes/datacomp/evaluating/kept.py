"""Measurements that are made once: a result of the same inputs, parameters and code is taken, not computed again.

DVC removes what a stage put out before it runs the stage again; what is kept lies under runs/, so that an evaluation
of several sets that was cut off goes on with the set that is missing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from trackyard.digest import digest_json, short
from trackyard.durable import write_atomic
from trackyard.recipes.datacomp.cells import Cell
from trackyard.recipes.datacomp.results import Result, read_result, write_result
from trackyard.recipes.datacomp.study import TRACK, Study


def measured(
    study: Study,
    result: str,
    cell: Cell,
    *,
    inputs: Mapping[str, str],
    make: Callable[[], Mapping[str, Any]],
    device: str,
    vae_digest: str | None,
) -> Result:
    """The result of `cell`, at `study.document(result, cell)`; `make` computes its body if it is not kept.

    inputs: blake3 of all files that `make` reads, by path relative to the repository.
    """
    key = digest_json(
        {
            "result": result,
            "cell": cell.label,
            "spec": study.spec_digest(result),
            "inputs": dict(inputs),
            "code": asdict(study.code),
        }
    )
    kept = study.runs / TRACK / "measured" / result / f"{cell.label}-{short(key)}.json"
    if not kept.exists():
        started = time.monotonic()
        body = make()
        header = study.header(
            result,
            cell,
            inputs=inputs,
            device=device,
            wall_s=time.monotonic() - started,
            run_id=short(key),
            vae_digest=vae_digest,
        )
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_result(kept, result, header, body)
    found = read_result(kept, result)
    target = study.document(result, cell)
    target.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(target, kept.read_bytes())
    return found
