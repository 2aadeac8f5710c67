"""Plans as a stream: at a hundredth of the real size every promise is kept in bounded memory."""

from __future__ import annotations

import tracemalloc
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trackyard.errors import ConfigError
from trackyard.plan import compose as module
from trackyard.plan.build import DatasetInput, PlanInputs, build_plan
from trackyard.plan.mixture import MixtureParameters
from trackyard.plan.packing import Budget
from trackyard.plan.plan import EPOCHS, OFFSET, ROWS

DATASETS, STEPS, PACKS = 104, 300, 128
BUDGET = Budget(tokens=16_384, inputs=128)


def _inputs(sizes: list[int], *, steps: int, packs: int = PACKS, budget: Budget = BUDGET) -> PlanInputs:
    """Text, images and videos, about as in the packing benchmark."""
    random = np.random.default_rng(0)
    datasets = {}
    for number, size in enumerate(sizes):
        inputs = np.where(random.random(size) < 0.3, random.integers(8, 129, size), random.integers(0, 9, size))
        inputs = np.minimum(inputs, budget.inputs)
        tokens = np.minimum(83 * inputs + random.integers(20, 3000, size), budget.tokens)
        datasets[f"d{number:03}"] = DatasetInput(
            manifest_fingerprint="m", index_fingerprint="i", rows=np.arange(size), tokens=tokens, visual=81 * inputs,
            inputs=inputs, labels=tokens // 9, excluded={},
        )  # fmt: skip
    return PlanInputs(
        datasets=datasets, mixture=MixtureParameters(kind="sqrt"), budget=budget, packs_per_step=packs, steps=steps,
        seed=3,
    )  # fmt: skip


@pytest.fixture(scope="module")
def sizes() -> list[int]:
    """A hundredth of 9.3 million rows."""
    drawn = np.exp(np.random.default_rng(1).uniform(np.log(2e3), np.log(1e6), DATASETS))
    return np.maximum(drawn * (93_000 / drawn.sum()), 16).astype(int).tolist()


def test_a_hundredth_of_the_real_plan(sizes: list[int], tmp_path: Path) -> None:
    inputs = _inputs(sizes, steps=STEPS)
    plan = build_plan(inputs=inputs, cache=tmp_path)
    columns = [inputs.datasets[name] for name in plan.datasets]
    first = np.cumsum([0, *sizes])
    dataset, row, epoch = plan.rows_between(0, len(plan.rows))
    number = first[dataset] + row
    for name, limit in (("tokens", BUDGET.tokens), ("inputs", BUDGET.inputs)):
        lengths = np.concatenate([getattr(data, name) for data in columns])
        assert np.add.reduceat(lengths[number], plan.offsets[:-1]).max() <= limit
    assert (np.diff(plan.offsets) > 0).all()
    times = np.bincount(number, minlength=first[-1])
    assert len(np.unique(number * (epoch.max() + 1) + epoch)) == len(number), "no row twice in an epoch"
    for low, high in pairwise(first):
        assert np.ptp(times[low:high]) <= 1, "no row is an epoch ahead of another"
    assert np.array_equal(np.bincount(number, epoch, first[-1]), times * (times - 1) / 2)
    totals = plan.summary["totals"]
    assert totals["packs"] == STEPS * PACKS
    assert totals["share_of_bound"] >= 0.97
    drawn = np.bincount(dataset, minlength=DATASETS)
    rates = np.array([entry["rate"] for entry in plan.summary["entries"]])
    assert (np.abs(drawn - len(number) * rates) <= 1 + rates * DATASETS / 2).all()


def test_memory_does_not_grow_with_the_plan(sizes: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """More steps take the offsets and step sums of their packs more, but not their rows."""
    monkeypatch.setattr(module, "BLOCK", 2048)
    build_plan(inputs=_inputs(sizes, steps=61), cache=tmp_path)  # caches are full

    def peak(steps: int) -> tuple[int, int]:
        inputs = _inputs(sizes, steps=steps)
        tracemalloc.start()
        rows = len(build_plan(inputs=inputs, cache=tmp_path).rows)
        _, found = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return found, rows

    (short, fewer), (long, more) = peak(30), peak(60)
    due = 30 * (PACKS * OFFSET.itemsize + 5 * 8)
    assert more - fewer > 15_000
    assert long - short < due + 2 * (more - fewer)


def test_blocks_of_draws_of_any_length_give_the_same_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = _inputs([40, 300, 7], steps=20, packs=4)
    plan = build_plan(inputs=inputs, cache=tmp_path / "a")
    monkeypatch.setattr(module, "BLOCK", 61)
    assert build_plan(inputs=inputs, cache=tmp_path / "b").fingerprint == plan.fingerprint


def _failing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **limits: Any) -> str:
    for name, dtype in limits.items():
        monkeypatch.setattr(module, name, np.dtype(dtype))
    inputs = _inputs([2], steps=100, packs=8, budget=Budget(tokens=4000, inputs=20))
    with pytest.raises(ConfigError) as caught:
        build_plan(inputs=inputs, cache=tmp_path)
    assert not list(tmp_path.glob(f"*/{ROWS}")) + list(tmp_path.glob(f"*/{EPOCHS}"))
    return caught.value.what


def test_too_many_epochs_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "d000 with 2 rows would be gone through over 127 times" in _failing(tmp_path, monkeypatch, EPOCH="i1")


def test_too_many_rows_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "more than 127 rows" in _failing(tmp_path, monkeypatch, OFFSET="i1")
