"""What differs between runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.record.conftest import make_spec
from tests.record.made_runs import DEVICE, Life, make_run
from trackyard.record.code import CodeIdentity
from trackyard.record.comparing.differences import Difference, differences
from trackyard.record.comparing.summary import RunSummary, read_summary
from trackyard.record.identity import RunSpec, diff


def summary_of(**changes: Any) -> RunSummary:
    """Of a specification that never touched the disk."""
    spec = make_spec(**changes)
    return RunSummary(
        path=Path("runs") / spec.track / spec.stage / spec.run_id, run_id=spec.run_id, track=spec.track,
        stage=spec.stage, seed=spec.seed, spec=spec.body, status="FINISHED", attempts=1, started_ms=0, ended_ms=1,
        metrics={}, no_number=(), tags={}, world=None, device=None, hours=None, device_hours=None, energy_kwh=None,
    )  # fmt: skip


def test_each_kind_is_told_with_its_values(tmp_path: Path) -> None:
    one = read_summary(make_run(tmp_path, Life(machine=2)).path)
    other = read_summary(
        make_run(
            tmp_path,
            Life(),
            parameters={"steps": 13, "name": "mini", "extra": None, "optimiser": {"lr": 1e-4, "betas": [0.9, 0.95]}},
            snapshots={"charts": "b" * 64, "clips": "e" * 64},
            plan="f" * 64,
            code=CodeIdentity(commit="d" * 40, dirty_digest="9" * 64),
            image="sha256:1",
            parent=None,
            seed=8,
        ).path
    )
    found = differences([one, other])
    assert [(each.kind, each.name, each.values) for each in found.differing] == [
        ("parameters", "extra", (None, "null")),
        ("parameters", "steps", ("12", "13")),
        ("data", "plan", (f'"{"a" * 64}"', f'"{"f" * 64}"')),
        ("data", "snapshot.clips", (f'"{"c" * 64}"', f'"{"e" * 64}"')),
        ("code", "uncommitted", ("null", f'"{"9" * 64}"')),
        ("image", "image", ("null", '"sha256:1"')),
        ("parent", "parent", ('"1234567890ab"', "null")),
        ("seed", "seed", ("7", "8")),
        ("machine", "device", (f'"{DEVICE}"', None)),
        ("machine", "world", ("2", None)),
    ]
    assert found.equal == {"track": 1, "stage": 1, "parameters": 3, "data": 1, "code": 1, "model": 2}
    assert found.of("seed") == (Difference(kind="seed", name="seed", values=("7", "8")),)


OTHERS: Mapping[str, Any] = {
    "track": "nine",
    "stage": "stage1",
    "parameters": {"steps": 12, "optimiser": {"lr": 1e-4, "betas": [0.9, 0.99]}, "name": "mini"},
    "plan": "f" * 64,
    "model": {"id": "allenai/Molmo2-4B", "revision": "1" * 40},
    "snapshots": {"charts": "b" * 64},
    "parent": None,
    "code": CodeIdentity(commit="d" * 40, dirty_digest="9" * 64),
    "image": "sha256:1",
    "seed": 8,
}


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(RunSpec)])
def test_whatever_makes_another_run_is_told(field: str) -> None:
    (one,) = differences([summary_of(), summary_of(**{field: OTHERS[field]})]).differing
    assert len(set(one.values)) == 2


def test_data_that_only_one_was_measured_on_is_told() -> None:
    runs = [replace(summary_of(), evaluated=evaluated) for evaluated in ({"test": "1", "val": "2"}, {"val": "3"})]
    assert [(one.kind, one.name, one.values) for one in differences(runs).differing] == [
        ("evaluation", "test", ('"1"', None)),
        ("evaluation", "val", ('"2"', '"3"')),
    ]


def test_true_and_one_are_two_values() -> None:
    found = differences([summary_of(parameters={"x": value}) for value in (True, 1, 1.0)])
    assert [each.values for each in found.differing] == [("true", "1", "1.0")]


LEAVES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["", "a", "b"]),
    lambda inner: st.dictionaries(st.sampled_from("xyz"), inner, max_size=3) | st.lists(inner, max_size=2),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from("pqr"), LEAVES), st.dictionaries(st.sampled_from("pqr"), LEAVES))
def test_it_finds_what_the_identity_itself_tells_apart(one: dict[str, Any], other: dict[str, Any]) -> None:
    told = {line.split(":")[0] for line in diff(make_spec(parameters=one), make_spec(parameters=other))}
    found = differences([summary_of(parameters=one), summary_of(parameters=other)])
    # That one has no parameters at all says what the others say leaf by leaf.
    assert {f"parameters.{each.name}" for each in found.differing} == told - {"parameters"}
