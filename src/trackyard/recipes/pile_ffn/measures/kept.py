"""Results of this study that are measured once (`trackyard.recipes.running.kept`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from trackyard.recipes.pile_ffn.cells import Cell
from trackyard.recipes.pile_ffn.results import Result, read_result, write_result
from trackyard.recipes.pile_ffn.study import TRACK, Study
from trackyard.recipes.running.kept import keep_result


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

    def write(path: Path, run_id: str, body: Mapping[str, Any], wall_s: float) -> None:
        header = study.header(
            stage,
            cell,
            run_id=run_id,
            inputs=inputs,
            slice_digest=slice_digest,
            precision=precision,
            device=device,
            wall_s=wall_s,
        )
        write_result(path, stage, header, body)

    target = study.document(stage, cell)
    keep_result(
        study.runs / TRACK,
        target,
        result=stage,
        cell=cell.name,
        spec=study.spec_digest(stage),
        inputs=inputs,
        code=study.code,
        make=make,
        write=write,
    )
    return read_result(target, stage)
