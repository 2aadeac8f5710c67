"""The plan file: what is damaged is refused, what belongs to another run is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from trackyard.digest import short
from trackyard.errors import DataError, IdentityError
from trackyard.plan.build import DatasetInput, PlanInputs, build_plan
from trackyard.plan.mixture import MixtureParameters
from trackyard.plan.packing import Budget
from trackyard.plan.plan import ARRAYS, DOCUMENT, Plan, PlannedRow, describe, require_same_plan


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    data = DatasetInput(
        manifest_fingerprint="m",
        index_fingerprint="i",
        rows=np.array([4, 9]),
        tokens=np.array([60, 50]),
        visual=np.array([0, 40]),
        inputs=np.array([0, 1]),
        labels=np.array([6, 5]),
        excluded={},
    )
    inputs = PlanInputs(
        datasets={"only": data},
        mixture=MixtureParameters(kind="sqrt"),
        budget=Budget(tokens=110, inputs=2),
        packs_per_step=2,
        steps=3,
        seed=1,
    )
    return build_plan(inputs=inputs, cache=tmp_path)


def test_contents(plan: Plan) -> None:
    again = Plan.open(plan.directory)
    assert (again.steps, again.packs_per_step, again.seed) == (3, 2, 1)
    assert again.budget == Budget(tokens=110, inputs=2)
    assert again.fingerprint == plan.fingerprint
    assert len(again.fingerprint) == 64
    pack = again.pack(2, 1)
    assert all(isinstance(row, PlannedRow) and row.dataset == "only" and row.row in (4, 9) for row in pack)
    assert again.step_table.sum(axis=0)[4] == len(again.rows) == again.offsets[-1]
    assert isinstance(again.rows, np.memmap)
    assert sum(array.dtype.itemsize for array in (again.rows, again.epochs)) == 6
    assert [row["name"] for row in describe(again)] == ["only"]


def test_rows_between_are_those_of_the_packs(plan: Plan) -> None:
    dataset, row, epoch = plan.rows_between(0, len(plan.rows))
    assert [PlannedRow(plan.datasets[k], *numbers) for k, *numbers in zip(dataset, row, epoch, strict=True)] == [
        planned for step in range(3) for slot in range(2) for planned in plan.pack(step, slot)
    ]


@pytest.mark.parametrize(("step", "slot"), [(3, 0), (0, 2), (-1, 0), (0, -1)])
def test_there_is_no_pack_beyond_the_plan(plan: Plan, step: int, slot: int) -> None:
    with pytest.raises(IndexError, match="3 x 2 packs"):
        plan.pack(step, slot)


@pytest.mark.parametrize("name", ARRAYS)
def test_flipped_bit_is_refused(plan: Plan, name: str) -> None:
    path = plan.directory / name
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        Plan.open(plan.directory)
    assert str(path) in caught.value.what
    assert "rm -r" in caught.value.fix
    assert "the plan is rebuilt from the same inputs" in caught.value.fix


@pytest.mark.parametrize("name", [*ARRAYS, DOCUMENT])
def test_absent_file_is_refused(plan: Plan, name: str) -> None:
    (plan.directory / name).unlink()
    with pytest.raises(DataError, match=name):
        Plan.open(plan.directory)


@pytest.mark.parametrize("key", ["inputs", "files"])
def test_edited_document_is_refused(plan: Plan, key: str) -> None:
    document = json.loads((plan.directory / DOCUMENT).read_text())
    document[key][next(iter(document[key]))] = "other"
    (plan.directory / DOCUMENT).write_text(json.dumps(document))
    with pytest.raises(DataError, match="fingerprint it states"):
        Plan.open(plan.directory)


def test_edited_summary_is_refused(plan: Plan) -> None:
    document = json.loads((plan.directory / DOCUMENT).read_text())
    document["summary"]["totals"]["tokens"] += 1
    (plan.directory / DOCUMENT).write_text(json.dumps(document))
    with pytest.raises(DataError, match="summary it was written with"):
        Plan.open(plan.directory)


def test_other_schema_is_refused(plan: Plan) -> None:
    document = json.loads((plan.directory / DOCUMENT).read_text())
    (plan.directory / DOCUMENT).write_text(json.dumps({**document, "schema": "trackyard-plan/1"}))
    with pytest.raises(DataError, match="trackyard-plan/1"):
        Plan.open(plan.directory)


def test_resume_against_another_plan_is_refused() -> None:
    ours, theirs = "a" * 64, "b" * 64
    require_same_plan(ours, ours, where="checkpoints/step-00000005")
    with pytest.raises(IdentityError) as caught:
        require_same_plan(ours, theirs, where="checkpoints/step-00000005")
    for text in (ours, theirs, short(ours), short(theirs), "checkpoints/step-00000005"):
        assert text in caught.value.what
    assert caught.value.exit_code == 2
