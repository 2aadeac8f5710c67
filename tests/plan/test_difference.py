"""Two plans side by side: what was put in otherwise, and where the packs part."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trackyard.plan import difference as module
from trackyard.plan.build import DatasetInput, PlanInputs, build_plan
from trackyard.plan.difference import ABSENT, difference
from trackyard.plan.mixture import MixtureParameters
from trackyard.plan.packing import Budget
from trackyard.plan.plan import Plan


def _dataset(name: str, rows: int) -> DatasetInput:
    generator = np.random.default_rng([ord(letter) for letter in name])
    tokens = generator.integers(20, 400, rows)
    return DatasetInput(
        manifest_fingerprint=f"manifest-{name}", index_fingerprint=f"index-{name}", rows=np.arange(rows),
        tokens=tokens, visual=tokens // 2, inputs=generator.integers(0, 6, rows), labels=tokens // 4, excluded={},
    )  # fmt: skip


DATASETS = {"x": _dataset("x", 10), "y": _dataset("y", 90)}


def _build(cache: Path, **changes: Any) -> Plan:
    values: dict[str, Any] = {
        "datasets": DATASETS, "mixture": MixtureParameters(kind="sqrt"), "budget": Budget(tokens=1000, inputs=12),
        "packs_per_step": 4, "steps": 9, "seed": 3,
    }  # fmt: skip
    return build_plan(inputs=PlanInputs(**(values | changes)), cache=cache)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("plans")


@pytest.fixture(scope="module")
def plan(cache: Path) -> Plan:
    return _build(cache)


def test_a_plan_is_itself(plan: Plan) -> None:
    found = difference(plan, plan)
    assert (found.inputs, found.first) == ((), None)
    assert (found.equal, found.compared, found.packs) == (36, 36, (36, 36))
    assert found.share_equal == 1
    assert found.total_variation == 0
    assert {pair.key for pair in found.rates} == {"x", "y"}
    assert all(pair.a == pair.b for pair in (*found.rates, *found.totals))


def test_one_row_in_one_pack(plan: Plan) -> None:
    """The pack is named by its step and slot, whichever array of the plan it is."""
    pack = 4 * 4 + 2
    at = int(plan.offsets[pack])
    rows, epochs, offsets = plan.rows.copy(), plan.epochs.copy(), plan.offsets.copy()
    rows[at] += 1
    epochs[at] += 1
    offsets[pack + 1] -= 1
    for change in ({"rows": rows}, {"epochs": epochs}):
        found = difference(plan, replace(plan, **change))
        assert (found.first, found.equal) == ((4, 2), 35)
    assert difference(replace(plan, offsets=offsets), plan).first == (4, 2)


def test_another_seed_is_other_packs(cache: Path, plan: Plan) -> None:
    found = difference(plan, _build(cache, seed=4))
    assert [(pair.key, pair.a, pair.b) for pair in found.inputs] == [("seed", 3, 4)]
    assert found.first == (0, 0)
    assert found.share_equal < 0.2


def test_more_steps_begin_alike(cache: Path, plan: Plan) -> None:
    longer = _build(cache, steps=12)
    found = difference(plan, longer)
    assert [(pair.key, pair.a, pair.b) for pair in found.inputs] == [("steps", 9, 12)]
    assert (found.compared, found.packs) == (36, (36, 48))
    assert found.share_equal == found.equal / 48
    # Only the end is packed otherwise, where nothing may be left over.
    assert found.equal > 18
    assert found.first is None or found.first > (2, 0)
    totals = {pair.key: (pair.a, pair.b) for pair in found.totals}
    assert totals["packs"] == (36, 48)
    assert totals["tokens"] == (plan.summary["totals"]["tokens"], longer.summary["totals"]["tokens"])


def test_packs_are_compared_by_step_and_slot(cache: Path, plan: Plan) -> None:
    """The same packs, dealt to steps of two: slots 0 and 1 of step 0 are the same, then they part."""
    found = difference(plan, _build(cache, packs_per_step=2, steps=18))
    assert found.compared == 9 * 2
    assert found.first == (1, 0)
    assert found.equal >= 2


def test_datasets_are_known_by_name(cache: Path, plan: Plan) -> None:
    """A dataset before the others moves all their numbers; rows that are the same rows stay the same."""
    mixture = MixtureParameters(kind="fixed", ratios={"g": {"x": 0.25, "y": 0.75}})
    more = MixtureParameters(kind="fixed", ratios={"g": {"x": 0.25, "y": 0.75 - 1e-7, "a": 1e-7}})
    one = _build(cache, mixture=mixture)
    two = _build(cache, mixture=more, datasets={"a": _dataset("a", 40), **DATASETS})
    assert two.datasets[0] == "a"
    assert two.first[1] == 40
    found = difference(one, two)
    assert found.equal == 36
    assert (found.first, difference(two, one).first) == (None, None)
    rates = {pair.key: (pair.a, pair.b) for pair in found.rates}
    assert rates["a"] == (0.0, pytest.approx(1e-7))
    assert found.total_variation == pytest.approx(1e-7)
    inputs = {pair.key: (pair.a, pair.b) for pair in found.inputs}
    assert inputs["datasets.a.usable"] == (ABSENT, 40)
    assert inputs["mixture.ratios.g.y"] == (0.75, 0.75 - 1e-7)
    assert "datasets.x.usable" not in inputs
    # Without names, the first row of the second plan would be of another dataset.
    assert (np.asarray(one.rows) != np.asarray(two.rows)).all()


def test_chunks_do_not_matter(cache: Path, plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    other = _build(cache, steps=12)
    whole = difference(plan, other)
    monkeypatch.setattr(module, "CHUNK", 5)
    assert difference(plan, other) == whole
