"""A root with a parameter file, a snapshot that consists of its manifests, and the plan of its first stage."""

from __future__ import annotations

import contextlib
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
import yaml

from trackyard.plan.build import DatasetInput, PlanInputs, build_plan
from trackyard.plan.mixture import MixtureParameters
from trackyard.plan.packing import Budget
from trackyard.plan.plan import Plan
from trackyard.snapshot.manifest import FileEntry, Manifest

ROWS = {"pixmo-cap": 120, "pixmo-points": 60, "tulu": 30}
STAGE1 = {
    "steps": 6, "packs_per_step": 4, "max_tokens": 1000, "max_inputs": 12, "input_weight": 1,
    "mixture": {"kind": "fixed", "ratios": {"captions": {"pixmo-cap": 0.6}, "pointing": {"pixmo-points": 0.3},
                                            "text": {"tulu": 0.1}}},
}  # fmt: skip
STAGE2 = STAGE1 | {"steps": 8, "mixture": {"kind": "sqrt"}}


@dataclass(frozen=True)
class Typed:
    """What a command printed, and how it ended."""

    code: int
    out: str

    def json(self) -> dict[str, Any]:
        body: dict[str, Any] = json.loads(self.out)
        assert body["schema"].startswith("trackyard-")
        return body


def type_into(app: typer.Typer, root: Path, *line: str) -> Typed:
    """Run a command of `app` in `root`; errors of trackyard come through."""
    out = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out):
        patch.chdir(root)
        try:
            code = typer.main.get_command(app).main(list(line), standalone_mode=False)
        except SystemExit as stop:
            code = stop.code
    return Typed(int(code or 0), out.getvalue())


def make_root(root: Path) -> Path:
    """Parameters of two stages and three datasets of `ROWS` rows."""
    write_parameters(root / "params.yaml")
    for name, rows in ROWS.items():
        entry = FileEntry(path="train/part-00000.parquet", bytes=1, rows=rows, blake3="0" * 64)
        manifest = Manifest(
            dataset=name, source={"generator": "test"}, licence="CC0-1.0", splits={"train": rows}, files=(entry,),
            exclusions={},
        )  # fmt: skip
        (root / "data" / "mini" / name).mkdir(parents=True)
        manifest.write(root / "data" / "mini" / name)
    return root


def write_parameters(path: Path, **changes: Any) -> None:
    """changes: of stage 1."""
    values = {"molmo2": {"snapshot": "data/mini", "seed": 3, "strict": False, "stage1": STAGE1 | changes,
                         "stage2": STAGE2}}  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(values, sort_keys=False))


def lengths(root: Path) -> dict[str, DatasetInput]:
    """Every other row of each dataset is usable."""
    found = {}
    for name, rows in ROWS.items():
        tokens = np.random.default_rng(rows).integers(30, 400, rows // 2)
        found[name] = DatasetInput(
            manifest_fingerprint=Manifest.read(root / "data" / "mini" / name).fingerprint,
            index_fingerprint=f"index of {name}", rows=np.arange(0, rows, 2), tokens=tokens, visual=tokens // 2,
            inputs=tokens // 100, labels=tokens // 4, excluded={"no label token": rows - rows // 2},
        )  # fmt: skip
    return found


def plan_of(root: Path, parameters: str = "params.yaml") -> Plan:
    """Build the plan of stage 1, as the recipe does, or open it."""
    track = yaml.safe_load((root / parameters).read_text())["molmo2"]
    stage = track["stage1"]
    inputs = PlanInputs(
        datasets=lengths(root), mixture=MixtureParameters.model_validate(stage["mixture"]),
        budget=Budget(tokens=stage["max_tokens"], inputs=stage["max_inputs"]), steps=stage["steps"],
        packs_per_step=stage["packs_per_step"], seed=track["seed"], image_weight=stage["input_weight"],
    )  # fmt: skip
    return build_plan(inputs=inputs, cache=root / "artifacts" / "plans")
