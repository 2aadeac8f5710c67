"""Names of jobs, whom they wait for, and what is an array: for any graph."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.launch.jobs.graphs import REQUEST, job
from trackyard.launch.jobs.graph import Job
from trackyard.launch.jobs.naming import in_arrays, job_name, shortened, unique


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("stage2", "stage2"),
        ("pipelines/pile_ffn/dvc.yaml:train@baseline-42", "pile_ffn-train-baseline-42"),
        ("pipelines/nine/dvc.yaml:accuracy", "nine-accuracy"),
        ("a@x/y z", "a-x-y-z"),
    ],
)
def test_a_name_says_track_stage_and_item(address: str, name: str) -> None:
    assert job_name(address) == name


@given(st.text(min_size=1))
def test_any_address_has_a_name_that_is_safe(address: str) -> None:
    assert re.fullmatch(r"[A-Za-z0-9_.-]+", job_name(address))
    assert job_name(address) not in (".", "..")


@given(st.lists(st.sampled_from(["a", "a-2", "b"]), max_size=8))
def test_no_two_names_are_the_same(names: list[str]) -> None:
    taken: list[str] = []
    for name in names:
        taken.append(unique(name, taken))
    assert len(set(taken)) == len(names)


@st.composite
def graphs(draw: st.DrawFn) -> list[Job]:
    """Jobs in an order in which each comes after those it waits for."""
    found: list[Job] = []
    for index in range(draw(st.integers(0, 9))):
        before = draw(st.lists(st.sampled_from([one.name for one in found]), unique=True)) if found else []
        item = draw(st.sampled_from(["", "@a", "@b"]))
        request = replace(REQUEST, minutes=draw(st.sampled_from([10, 20])))
        found.append(job(f"job{index}", *before, stage=f"stage{index % 3}{item}{index}", request=request))
    return found


def behind(jobs: list[Job]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for one in jobs:
        found[one.name] = set(one.after).union(*(found[name] for name in one.after))
    return found


@given(graphs())
def test_fewer_are_waited_for_and_nothing_begins_earlier(jobs: list[Job]) -> None:
    found = shortened(jobs)
    assert behind(found) == behind(jobs)
    for one in found:
        others = set().union(*(behind(found)[name] for name in one.after))
        assert not others & set(one.after), "what comes before one that is waited for is waited for anyway"


@given(graphs())
def test_tasks_of_an_array_differ_in_their_item_alone(jobs: list[Job]) -> None:
    found = in_arrays(jobs)
    assert [replace(one, array=None, index=None) for one in found] == jobs
    arrays: dict[str, list[Job]] = {}
    for one in found:
        if one.array is not None:
            arrays.setdefault(one.array, []).append(one)
    assert not set(arrays) & {one.name for one in found}
    for members in arrays.values():
        assert [one.index for one in members] == list(range(len(members)))
        assert len(members) > 1
        assert len({(one.stage.partition("@")[0], one.request, one.after) for one in members}) == 1


def test_items_that_differ_in_more_are_arrays_of_their_own() -> None:
    items = [job(f"t-{word}", after, stage=f"t@{word}") for word, after in zip("abcd", "xxyy", strict=True)]
    found = in_arrays([job("x"), job("y"), *items])
    assert [one.array for one in found] == [None, None, "t", "t", "t-2", "t-2"]
    assert in_arrays([job("x"), job("z", stage="z@only")])[1].array is None
