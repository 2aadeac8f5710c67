"""A plan is what it promises, and every broken promise is found, named and placed."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trackyard.errors import IdentityError
from trackyard.plan import check
from trackyard.plan.build import DatasetInput, PlanInputs, build_plan
from trackyard.plan.check import SHOWN, check_plan
from trackyard.plan.mixture import MixtureParameters
from trackyard.plan.packing import Budget
from trackyard.plan.plan import Plan

BUDGET = Budget(tokens=1000, inputs=12)
ENTRIES = {
    "kind": "hierarchical",
    "groups": {
        "g": {"weight": 2, "entries": [{"dataset": "x"}, {"dataset": "y"}]},
        "h": {"weight": 1, "entries": [{"dataset": "z"}, {"dataset": "x", "name": "x-again", "size": "none"}]},
    },
}


def _dataset(name: str, rows: int, *, shuffled: bool = False) -> DatasetInput:
    generator = np.random.default_rng([ord(letter) for letter in name])
    numbers = np.sort(generator.choice(3 * rows, rows, replace=False))
    tokens = generator.integers(20, 400, rows)
    return DatasetInput(
        manifest_fingerprint=f"manifest-{name}",
        index_fingerprint=f"index-{name}",
        rows=generator.permutation(numbers) if shuffled else numbers,
        tokens=tokens,
        visual=tokens // 2,
        inputs=generator.integers(0, 6, rows),
        labels=tokens // 4,
        excluded={},
    )


DATASETS = {"x": _dataset("x", 10), "y": _dataset("y", 90), "z": _dataset("z", 25, shuffled=True)}


def _build(cache: Path, **changes: Any) -> Plan:
    values: dict[str, Any] = {
        "datasets": DATASETS, "mixture": MixtureParameters.model_validate(ENTRIES), "budget": BUDGET,
        "packs_per_step": 4, "steps": 9, "seed": 3,
    }  # fmt: skip
    return build_plan(inputs=PlanInputs(**(values | changes)), cache=cache)


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return _build(tmp_path_factory.mktemp("plans"))


def _edited(plan: Plan, **arrays: np.ndarray) -> Plan:
    return replace(plan, **arrays)


def _numbers(plan: Plan, name: str) -> np.ndarray:
    """Numbers in the plan of the usable rows of a dataset."""
    return DATASETS[name].rows + plan.first[plan.datasets.index(name)]


def test_a_plan_holds_what_it_promises(plan: Plan) -> None:
    checked = check_plan(plan, DATASETS)
    assert checked.ok, checked
    assert (checked.steps, checked.packs, checked.rows) == (9, 36, len(plan.rows))
    assert plan.epochs.max() > 1, "rows of several epochs were checked"


def _swap_for_unusable(plan: Plan) -> Plan:
    rows = plan.rows.copy()
    rows[5] = next(n for n in range(plan.first[1], plan.first[2]) if n not in _numbers(plan, "y"))
    return _edited(plan, rows=rows)


def _swap_for_another_row(plan: Plan) -> Plan:
    """The row of a draw in the last epoch of y, which is not complete, gives its place to one that is not due."""
    rows = plan.rows.copy()
    numbers = _numbers(plan, "y")
    last = max(plan.epochs[np.isin(rows, numbers)])
    drawn = rows[(plan.epochs == last) & np.isin(rows, numbers)]
    at = np.flatnonzero((plan.epochs == last) & (rows == drawn[0]))[0]
    rows[at] = next(number for number in numbers if number not in drawn)
    return _edited(plan, rows=rows)


def _repeat(plan: Plan) -> Plan:
    rows, epochs = plan.rows.copy(), plan.epochs.copy()
    first, second = np.flatnonzero(np.isin(rows, _numbers(plan, "x")) & (epochs == 0))[:2]
    rows[second] = rows[first]
    return _edited(plan, rows=rows)


def _wrong_epoch(plan: Plan) -> Plan:
    epochs = plan.epochs.copy()
    epochs[7] += 500
    return _edited(plan, epochs=epochs)


def _empty_pack(plan: Plan) -> Plan:
    offsets = plan.offsets.copy()
    offsets[6] = offsets[5]
    return _edited(plan, offsets=offsets)


def _fewer_tokens(plan: Plan) -> Plan:
    return replace(plan, inputs=plan.inputs | {"budget": {"tokens": 600, "inputs": 12}})


def _fewer_inputs(plan: Plan) -> Plan:
    return replace(plan, inputs=plan.inputs | {"budget": {"tokens": 1000, "inputs": 7}})


def _another_table(plan: Plan) -> Plan:
    table = plan.step_table.copy()
    table[4, 1] += 1
    return _edited(plan, step_table=table)


def _other_rates(plan: Plan) -> Plan:
    """As if the draws had been made with other rates: the counts of the datasets are not those of the mixture."""
    name, dataset, rate = plan.inputs["rates"][0]
    other, _, more = plan.inputs["rates"][1]
    return replace(
        plan,
        inputs=plan.inputs
        | {"rates": [[name, dataset, rate / 2], [other, "y", more + rate / 2], *plan.inputs["rates"][2:]]},
    )


@pytest.mark.parametrize(
    ("edit", "kinds", "place", "sentence"),
    [
        (_swap_for_unusable, {"no usable row", "draw left out"}, None, "is not usable"),
        (_swap_for_another_row, {"draw not due", "draw left out"}, None, "is none of the plan's draws"),
        (_repeat, {"repeated in an epoch", "draw left out"}, None, "was in a pack before"),
        (_wrong_epoch, {"draw not due", "draw left out"}, None, "epoch 50"),
        (_empty_pack, {"empty pack"}, (1, 1), "holds no row"),
        (_fewer_tokens, {"over the budget of tokens"}, None, "600 are allowed"),
        (_fewer_inputs, {"over the budget of inputs"}, None, "7 are allowed"),
        (_another_table, {"wrong table of steps"}, (4, None), "visual_tokens: "),
        (_other_rates, {"draw not due", "draw left out"}, None, "is none of the plan's draws"),
    ],
)
def test_every_broken_promise_is_named(
    plan: Plan, edit: Callable[[Plan], Plan], kinds: set[str], place: tuple[int, int] | None, sentence: str
) -> None:
    checked = check_plan(edit(plan), DATASETS)
    assert not checked.ok
    # A changed row has another length, so that its pack and its step may go wrong with it.
    assert kinds <= set(checked.counts) <= kinds | {
        "wrong table of steps", "over the budget of tokens", "over the budget of inputs",
    }  # fmt: skip
    told = next(problem for problem in checked.problems if sentence in problem.what)
    assert told.kind in kinds
    if place is not None:
        assert (told.step, told.slot) == place


def test_a_problem_says_where_it_is(plan: Plan) -> None:
    edited = _swap_for_unusable(plan)
    told = check_plan(edited, DATASETS).problems[0]
    assert told.step is not None
    assert told.slot is not None
    row = edited.pack(told.step, told.slot)[5 - int(plan.offsets[told.step * 4 + told.slot])]
    assert told.what == f"row {row.row} of y in epoch {row.epoch} is not usable"


def test_the_first_problems_are_told_and_all_are_counted(plan: Plan) -> None:
    rows = np.full_like(plan.rows, plan.first[1] + 10**6)
    checked = check_plan(_edited(plan, rows=rows), DATASETS)
    assert len(checked.problems) == SHOWN
    assert checked.counts["no usable row"] == len(rows)
    assert checked.counts["draw left out"] == len(rows)
    # What concerns the whole plan is told too, although rows and packs come first.
    assert [(problem.step, problem.slot) for problem in checked.problems[:2]] == [(0, 0), (0, 0)]


@pytest.mark.parametrize(
    ("field", "change", "kind"),
    [
        ("rows", lambda array: array[:0], "nothing to examine"),
        ("offsets", lambda array: array[:-1], "arrays of other lengths"),
        ("epochs", lambda array: array[:-1], "arrays of other lengths"),
        ("step_table", lambda array: array[1:], "arrays of other lengths"),
        ("offsets", lambda array: np.sort(array)[::-1].copy(), "packs overlap or leave rows out"),
        ("offsets", lambda array: np.minimum(array, array[-1] - 1), "packs overlap or leave rows out"),
    ],
)
def test_what_cannot_be_examined_is_a_problem(
    plan: Plan, field: str, change: Callable[[np.ndarray], np.ndarray], kind: str
) -> None:
    checked = check_plan(replace(plan, **{field: change(getattr(plan, field))}), DATASETS)
    assert set(checked.counts) == {kind}


def test_lengths_of_other_data_are_refused(plan: Plan) -> None:
    other = replace(DATASETS["y"], index_fingerprint="another")
    with pytest.raises(IdentityError, match="made from y") as caught:
        check_plan(plan, {**DATASETS, "y": other})
    assert "trackyard plan build" in caught.value.fix
    with pytest.raises(IdentityError, match="made from z"):
        check_plan(plan, {name: data for name, data in DATASETS.items() if name != "z"})


def test_a_dataset_that_is_not_drawn_from_does_no_harm(tmp_path: Path) -> None:
    empty = DatasetInput(
        manifest_fingerprint="m", index_fingerprint="i", excluded={"no label token": 3},
        **{name: np.zeros(0, dtype=np.int64) for name in ("rows", "tokens", "visual", "inputs", "labels")},
    )  # fmt: skip
    datasets = {**DATASETS, "a-empty": empty}
    parameters = MixtureParameters(kind="sqrt", reference_rows={"a-empty": 3})
    checked = check_plan(_build(tmp_path, datasets=datasets, mixture=parameters), datasets)
    assert checked.ok, checked


def test_chunks_do_not_matter(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = _repeat(_another_table(plan))
    whole = check_plan(broken, DATASETS)
    for size in (1, 17):
        monkeypatch.setattr(check, "CHUNK", size)
        assert check_plan(broken, DATASETS) == whole
        assert check_plan(plan, DATASETS).ok


@settings(max_examples=5, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=4), steps=st.integers(1, 6), packs=st.integers(1, 5),
    seed=st.integers(0, 2**31),
)  # fmt: skip
def test_every_plan_passes(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], steps: int, packs: int, seed: int
) -> None:
    datasets = {f"d{number}": _dataset(f"d{number}", rows) for number, rows in enumerate(sizes)}
    cache = tmp_path_factory.mktemp("plans")
    built = _build(
        cache, datasets=datasets, mixture=MixtureParameters(kind="sqrt"), steps=steps, packs_per_step=packs, seed=seed
    )
    checked = check_plan(built, datasets)
    assert checked.ok, checked
    shutil.rmtree(cache)
