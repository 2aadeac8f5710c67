"""The identity of a plan names everything that it depends on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from trackyard.digest import digest_json
from trackyard.plan.inputs import COLUMNS, DatasetInput, PlanInputs, identity
from trackyard.plan.mixture import MixtureParameters, rates
from trackyard.plan.packing import Budget

DATA = DatasetInput(
    manifest_fingerprint="m",
    index_fingerprint="i",
    excluded={},
    **{name: np.array([4, 9]) + number for number, name in enumerate(COLUMNS)},
)
INPUTS = PlanInputs(
    datasets={"x": DATA},
    mixture=MixtureParameters(kind="sqrt"),
    budget=Budget(tokens=50, inputs=20),
    packs_per_step=1,
    steps=1,
    seed=0,
)


def _identity(data: DatasetInput) -> dict[str, Any]:
    return identity(INPUTS, rates(INPUTS.mixture, {"x": 2}, strict=False), {"x": data})


def test_rows_are_counted_to_the_last_that_is_usable() -> None:
    assert _identity(DATA)["datasets"][0]["row_numbers"] == 10


@pytest.mark.parametrize("column", COLUMNS)
def test_every_length_counts(column: str) -> None:
    changed = replace(DATA, **{column: getattr(DATA, column) + np.array([0, 1])})
    assert digest_json(_identity(changed)) != digest_json(_identity(DATA))


def test_the_type_of_a_column_does_not_count() -> None:
    narrow = replace(DATA, **{name: getattr(DATA, name).astype(np.int32) for name in COLUMNS})
    assert _identity(narrow) == _identity(DATA)
