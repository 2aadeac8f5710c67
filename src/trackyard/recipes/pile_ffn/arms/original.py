"""The untouched export as the start of all arms: what is said of it when it is written, and its proof when it is read.

Source: pile-ffn spec sections 2 and 4.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trackyard.digest import digest_file
from trackyard.errors import DataError
from trackyard.recipes.pile_ffn.cells import UNTOUCHED, Cell
from trackyard.recipes.pile_ffn.results import DOCUMENT, read_result, write_result
from trackyard.recipes.pile_ffn.study import Study
from trackyard.record.lineage.document import Lineage, names_in, write_lineage

STAGE = "untouched"
CELL = Cell(arm=UNTOUCHED, seed=None)
AGAIN = "dvc repro -f pipelines/pile_ffn/dvc.yaml:untouched"


def write_original(
    study: Study, body: Mapping[str, Any], *, lineage: Lineage, inputs: Mapping[str, str], device: str, wall_s: float
) -> None:
    """Write result.json beside the folders of the export, with the digest of every file in them; then lineage.json."""
    export = study.export(CELL)
    files = {path.relative_to(export).as_posix(): digest_file(path) for path in _files(export)}
    header = study.header(
        STAGE,
        CELL,
        run_id=lineage.run_id,
        inputs=inputs,
        slice_digest=None,
        precision={"weights": "fp32"},
        device=device,
        wall_s=wall_s,
    )
    write_result(export / DOCUMENT, STAGE, header, {**body, "files": files})
    write_lineage(export, lineage, files=names_in(export))


def require_original(study: Study) -> int:
    """Re-hash the export; returns how many files. DataError if it is absent, or not what was written."""
    export = study.export(CELL)
    stated: Mapping[str, str] = read_result(export / DOCUMENT, STAGE).body["files"]
    for name, digest in stated.items():
        path = export / name
        found = digest_file(path) if path.is_file() else "none (no such file)"
        if found != digest:
            raise DataError(
                what=f"{path} has blake3 {found}, expected {digest}",
                why="arms would start from another model than the one they are compared with",
                fix=AGAIN,
            )
    return len(stated)


def _files(export: Path) -> list[Path]:
    return sorted(path for path in export.glob("*/*") if path.is_file())
