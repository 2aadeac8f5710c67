"""A study in a folder of its own, with nothing in it but its parameters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from trackyard.recipes.datacomp.ingest.rows import ROWS, file_name
from trackyard.recipes.datacomp.parameters import DatacompParameters
from trackyard.recipes.datacomp.study import Study
from trackyard.record.code import CodeIdentity

IMAGES: dict[str, Any] = {
    "max_side": 896,
    "urls_per_shard": 64,
    "workers": 1,
    "acceptance": (0.35, 0.99),
    # The one silent row costs `stall_s`; the others must not be slower than that on a busy machine.
    "limits": {"in_flight": 32, "per_host": 32, "stall_s": 5.0, "retries": 0},
}


def small_study(root: Path, **data: Any) -> Study:
    """data: what of `datacomp.data` is otherwise; `images` is merged."""
    images = IMAGES | data.pop("images", {})
    values = {"samples": 20, "block_rows": 256, "source": {"kind": "mini", "mini_rows": 96}} | data | {"images": images}
    made = {"id": "made", "made": {}}
    study = Study(root=root, parameters=DatacompParameters.model_validate({"gemma": made, "vae": made, "data": values}))
    # A folder that is no checkout has no code of its own.
    study.__dict__["code"] = CodeIdentity(commit="c" * 40, dirty_digest=None)
    return study


def write_rows(study: Study, *files: list[dict[str, Any]]) -> None:
    """What `metadata` would have written."""
    study.metadata.mkdir(parents=True, exist_ok=True)
    for number, rows in enumerate(files):
        pq.write_table(pa.Table.from_pylist(rows, schema=ROWS), study.metadata / file_name(number))


def row(uid: str, url: str | None = None, **values: Any) -> dict[str, Any]:
    return {"uid": uid, "url": url or f"http://h.test/{uid}", "text": f"text of {uid}"} | values
