"""The plan file: the rows of every pack of every step, memory-mapped, with the numbers that users ask for first.

A plan directory holds `plan.json` and four arrays. It is complete or absent, and its digests are checked when it is
opened: 6 bytes per row and 4 per pack, so that this takes 30 ms for 22 million rows.
Source: design sections 1 and 4; molmo2 spec section 9.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trackyard.digest import digest_file, digest_json, short
from trackyard.errors import DataError, IdentityError
from trackyard.plan.packing import Budget
from trackyard.schema import read_document

SCHEMA = "trackyard-plan/2"
DOCUMENT = "plan.json"
ROWS = "rows.npy"
"""[rows]: number of the row, counting on through the row numbers of the datasets in the order of `inputs.datasets`."""
EPOCHS = "epochs.npy"
"""[rows]: how often the dataset of the row was gone through before."""
OFFSETS = "pack_offsets.npy"
"""[packs + 1]: rows of pack k are `offsets[k]` to `offsets[k + 1]`; pack k is slot k % B of step k // B."""
STEPS = "steps.npy"
"""int64 [steps, 5]: the columns of `STEP_COLUMNS`."""
ROW_NUMBER, EPOCH, OFFSET = np.dtype("<u4"), np.dtype("<u2"), np.dtype("<i4")
ARRAYS = (ROWS, EPOCHS, OFFSETS, STEPS)
STEP_COLUMNS = ("tokens", "visual_tokens", "inputs", "label_tokens", "rows")

Int64s = NDArray[np.int64]


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
    first: Int64s
    """[datasets]: number in `rows` of row 0 of each dataset."""
    rows: NDArray[np.uint32]
    epochs: NDArray[np.uint16]
    offsets: NDArray[np.int32]
    step_table: NDArray[np.int64]

    @classmethod
    def open(cls, directory: Path) -> Plan:
        """Open and verify; DataError if a file is missing or its bytes are not those the plan was written with."""
        fix = f"`rm -r {directory}`, then `trackyard run` of its stage: the plan is rebuilt from the same inputs"
        document = read_document(directory / DOCUMENT, SCHEMA, fix=fix)
        if fingerprint(document.get("inputs"), document.get("files")) != document.get("fingerprint"):
            raise DataError(
                what=f"{directory / DOCUMENT} does not have the fingerprint it states",
                why="its inputs or digests were changed after it was written",
                fix=fix,
            )
        if digest_json(document.get("summary")) != document.get("summary_digest"):
            raise DataError(
                what=f"{directory / DOCUMENT} does not have the summary it was written with",
                why="the numbers that people decide by would not be those of the plan",
                fix=fix,
            )
        paths = [directory / name for name in ARRAYS]
        # Hashing leaves the interpreter free, so that one core reads the rows while another reads the rest.
        with ThreadPoolExecutor(2) as pool:
            digests = list(pool.map(_digest, paths))
        for path, found in zip(paths, digests, strict=True):
            recorded = document["files"][path.name]
            if found != recorded:
                raise DataError(
                    what=f"{path} has digest {found}, its plan recorded {recorded}",
                    why="a damaged plan would train on other rows than its fingerprint says",
                    fix=fix,
                )
        rows, epochs, offsets, step_table = (np.load(path, mmap_mode="r") for path in paths)
        datasets = document["inputs"]["datasets"]
        return cls(
            directory=directory,
            fingerprint=document["fingerprint"],
            inputs=document["inputs"],
            summary=document["summary"],
            datasets=tuple(item["name"] for item in datasets),
            first=np.cumsum([0, *(item["row_numbers"] for item in datasets[:-1])]),
            rows=rows,
            epochs=epochs,
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
        dataset, row, epoch = self.rows_between(int(self.offsets[number]), int(self.offsets[number + 1]))
        return [
            PlannedRow(self.datasets[which], *numbers)
            for which, *numbers in zip(dataset.tolist(), row.tolist(), epoch.tolist(), strict=True)
        ]

    def rows_between(self, start: int, stop: int) -> tuple[Int64s, Int64s, Int64s]:
        """Rows `start`..`stop`-1 of the plan: number in `datasets`, row in the snapshot, epoch, each [stop-start]."""
        numbers = self.rows[start:stop].astype(np.int64)
        # A dataset without row numbers begins where the next one does: the last of them holds the row.
        dataset = np.searchsorted(self.first, numbers, side="right") - 1
        return dataset, numbers - self.first[dataset], self.epochs[start:stop].astype(np.int64)


def _digest(path: Path) -> str:
    return digest_file(path) if path.is_file() else "none (no such file)"


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
