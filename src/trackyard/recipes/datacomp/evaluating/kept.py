"""Results of this track that are measured once (`trackyard.recipes.running.kept`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from trackyard.recipes.datacomp.cells import Cell
from trackyard.recipes.datacomp.results import Result, read_result, write_result
from trackyard.recipes.datacomp.study import TRACK, Study
from trackyard.recipes.running.kept import keep_result


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

    def write(path: Path, run_id: str, body: Mapping[str, Any], wall_s: float) -> None:
        header = study.header(
            result, cell, inputs=inputs, device=device, wall_s=wall_s, run_id=run_id, vae_digest=vae_digest
        )
        write_result(path, result, header, body)

    target = study.document(result, cell)
    keep_result(
        study.runs / TRACK,
        target,
        result=result,
        cell=cell.label,
        spec=study.spec_digest(result),
        inputs=inputs,
        code=study.code,
        make=make,
        write=write,
    )
    return read_result(target, result)
