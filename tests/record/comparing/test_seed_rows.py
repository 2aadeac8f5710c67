"""Which runs are one row."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.record.comparing.test_differences import summary_of
from trackyard.digest import digest_json
from trackyard.record.comparing.seed_rows import deciding, seed_rows
from trackyard.record.comparing.summary import RunSummary


def rows(*runs: RunSummary) -> list[list[int]]:
    """Places of the runs of each row."""
    places = {run.label: place for place, run in enumerate(runs)}
    return [[places[run.label] for run in row] for row in seed_rows(runs, {run.label: deciding(run) for run in runs})]


def test_seeds_are_one_row_whatever_they_draw() -> None:
    one, other = (
        summary_of(seed=seed, plan=str(seed) * 64, parent=f"{seed}", parameters={"seed": seed, "rate": 1})
        for seed in (1, 2)
    )
    assert rows(one, other) == [[0, 1]]
    assert rows(one, summary_of(seed=2, parent="2", parameters={"seed": 2, "rate": 2})) == [[0], [1]]


def test_one_seed_twice_is_two_rows_and_the_others_go_with_their_data() -> None:
    assert rows(*(summary_of(seed=seed, plan=plan * 64) for plan in "ab" for seed in (1, 2))) == [[0, 1], [2, 3]]


def test_where_only_another_seed_differs_each_run_is_a_row() -> None:
    assert rows(*(summary_of(parameters={"split": {"seed": seed}}) for seed in (1, 2))) == [[0], [1]]


def test_neither_a_run_that_goes_on_nor_one_that_was_measured_on_other_data_is_averaged_with_another() -> None:
    first, other = (summary_of(seed=seed) for seed in (1, 2))
    assert rows(first, replace(other, status="RUNNING")) == [[0], [1]]
    assert rows(first, replace(other, evaluated={"test": "1"})) == [[0], [1]]
    assert rows(first, replace(other, world=8, device="other")) == [[0, 1]]
    told = [("test", "1"), ("val", "2")]
    assert rows(replace(first, evaluated=dict(told)), replace(other, evaluated=dict(told[::-1]))) == [[0, 1]]


SPECS = st.fixed_dictionaries(
    {
        "seed": st.integers(1, 3),
        "plan": st.sampled_from("ab"),
        "parent": st.sampled_from([None, "p"]),
        "parameters": st.fixed_dictionaries({"rate": st.integers(1, 2), "split": st.fixed_dictionaries(
            {"seed": st.integers(1, 2)})}),
    }
)  # fmt: skip


@given(st.lists(SPECS, min_size=1, max_size=12, unique_by=digest_json))
def test_every_run_is_in_one_row_that_has_no_seed_twice_and_one_rate(specs: list[dict[str, Any]]) -> None:
    found = rows(*(summary_of(**spec) for spec in specs))
    assert sorted(place for row in found for place in row) == list(range(len(specs)))
    for row in found:
        assert len({specs[place]["seed"] for place in row}) == len(row)
        assert len({specs[place]["parameters"]["rate"] for place in row}) == 1
