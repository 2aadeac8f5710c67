"""The plan file: the rows of every pack of every step, memory-mapped, with the numbers that users ask for first.

A plan directory holds `plan.json` and three arrays. It is complete or absent, and its digests are checked when it is
opened. Source: design sections 1 and 4; molmo2 spec section 9.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trackyard.digest import digest_file, digest_json, short
from trackyard.errors import DataError, IdentityError
from trackyard.plan.packing import Budget
from trackyard.schema import read_document

SCHEMA = "trackyard-plan/1"
DOCUMENT = "plan.json"
ROWS = "rows.npy"
"""int32 [rows, 3]: number of the dataset in `inputs.datasets`, row number in the snapshot, epoch of the dataset."""
OFFSETS = "pack_offsets.npy"
"""int64 [packs + 1]: rows of pack k are `offsets[k]` to `offsets[k + 1]`; pack k is slot k % B of step k // B."""
STEPS = "steps.npy"
"""int64 [steps, 5]: the columns of `STEP_COLUMNS`."""
ARRAYS = (ROWS, OFFSETS, STEPS)
STEP_COLUMNS = ("tokens", "visual_tokens", "inputs", "label_tokens", "rows")


@dataclass(frozen=True, slots=True)
class PlannedRow:
    """One row of a pack. row: number in the snapshot; epoch: how often its dataset was gone through before."""

    dataset: str
    row: int
    epoch: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """An opened plan. Reading a pack touches only the pages that hold it."""

    directory: Path
    fingerprint: str
    inputs: dict[str, Any]
    """Everything the plan is a function of (see `build.PlanInputs`)."""
    summary: dict[str, Any]
    datasets: tuple[str, ...]
    rows: NDArray[np.int32]
    offsets: NDArray[np.int64]
    step_table: NDArray[np.int64]

    @classmethod
    def open(cls, directory: Path) -> Plan:
        """Open and verify; DataError if a file is missing or its bytes are not those the plan was written with."""
        fix = f"`rm -r {directory}` and run the stage again; the plan is rebuilt from the same inputs"
        document = read_document(directory / DOCUMENT, SCHEMA, fix=fix)
        if fingerprint(document.get("inputs"), document.get("files")) != document.get("fingerprint"):
            raise DataError(
                what=f"{directory / DOCUMENT} does not have the fingerprint it states",
                why="its inputs or digests were changed after it was written",
                fix=fix,
            )
        for name in ARRAYS:
            path = directory / name
            recorded = document["files"][name]
            found = digest_file(path) if path.is_file() else "none (no such file)"
            if found != recorded:
                raise DataError(
                    what=f"{path} has digest {found}, its plan recorded {recorded}",
                    why="a damaged plan would train on other rows than its fingerprint says",
                    fix=fix,
                )
        rows, offsets, step_table = (np.load(directory / name, mmap_mode="r") for name in ARRAYS)
        return cls(
            directory=directory,
            fingerprint=document["fingerprint"],
            inputs=document["inputs"],
            summary=document["summary"],
            datasets=tuple(item["name"] for item in document["inputs"]["datasets"]),
            rows=rows,
            offsets=offsets,
            step_table=step_table,
        )

    @property
    def steps(self) -> int:
        return int(self.inputs["steps"])

    @property
    def packs_per_step(self) -> int:
        """B, over all data-parallel ranks: rank r of R reads slots r, r + R, …"""
        return int(self.inputs["packs_per_step"])

    @property
    def budget(self) -> Budget:
        return Budget(**self.inputs["budget"])

    @property
    def seed(self) -> int:
        return int(self.inputs["seed"])

    def pack(self, step: int, slot: int) -> list[PlannedRow]:
        """The rows of one sequence, in order. step: 0..steps-1; slot: 0..packs_per_step-1; IndexError beyond."""
        if not (0 <= step < self.steps and 0 <= slot < self.packs_per_step):
            raise IndexError(f"step {step}, slot {slot} of a plan with {self.steps} x {self.packs_per_step} packs")
        number = step * self.packs_per_step + slot
        rows = self.rows[self.offsets[number] : self.offsets[number + 1]].tolist()
        return [PlannedRow(self.datasets[dataset], row, epoch) for dataset, row, epoch in rows]


def fingerprint(inputs: Any, files: Any) -> str:
    """Identity of a plan: what it was made from, and the digests of its arrays. files: name -> blake3."""
    return digest_json({"inputs": inputs, "files": files})


def describe(plan: Plan) -> list[dict[str, Any]]:
    """One flat record per mixture entry, for a table: asked for, planned and realised."""
    return [dict(entry) for entry in plan.summary["entries"]]


def require_same_plan(expected: str, found: str, *, where: str) -> None:
    """IdentityError unless both fingerprints are equal. expected: of the run; found: of the plan at hand.

    where: what was made with `expected`, for example a checkpoint's path.
    """
    if expected != found:
        raise IdentityError(
            what=f"{where} belongs to plan {short(expected)}, this is plan {short(found)} ({expected} and {found})",
            why="going on would repeat some rows and skip others without anybody noticing",
            fix="restore the parameters and data of the first plan (`git diff params.yaml dvc.lock data.dvc`), "
            "or start a new run",
        )
