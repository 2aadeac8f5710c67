"""The run id follows from everything that decides the result; a specification on disk cannot be edited unseen."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trackyard.errors import ConfigError, DataError, IdentityError
from trackyard.record.code import CodeIdentity
from trackyard.record.identity import RunSpec, diff, read_spec, require_same, write_spec

SpecOf = Callable[..., RunSpec]

CHANGES: list[dict[str, Any]] = [
    {"track": "theworld"},
    {"stage": "stage1"},
    {"parameters": {"steps": 13}},
    {"plan": "0" * 64},
    {"model": {"start": "random"}},
    {"snapshots": {"charts": "b" * 64}},
    {"parent": None},
    {"code": CodeIdentity(commit="e" * 40, dirty_digest=None)},
    {"code": CodeIdentity(commit="d" * 40, dirty_digest="f" * 64)},
    {"image": "sha256:" + "1" * 64},
    {"seed": 8},
]


def test_every_field_decides(spec_of: SpecOf) -> None:
    ids = [spec_of(**change).run_id for change in [{}, *CHANGES]]
    assert len(set(ids)) == len(ids)
    changed = {key for change in CHANGES for key in change}
    assert changed == set(spec_of().body)


def test_the_id_is_known(spec_of: SpecOf) -> None:
    # Changing how it is computed would orphan every run on every disk: then the schema's major number changes.
    assert spec_of().run_id == "041f72e04063"
    assert spec_of().digest.startswith(spec_of().run_id)


def test_order_and_kind_of_sequence_do_not_decide(spec_of: SpecOf) -> None:
    a = spec_of(parameters={"a": 1, "b": (1, 2)})
    b = spec_of(parameters={"b": [1, 2], "a": 1})
    assert a == b
    assert a.run_id == b.run_id


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(parameters=st.dictionaries(st.text(max_size=5), JSON, max_size=4))
def test_what_is_written_is_read(spec_of: SpecOf, tmp_path: Path, parameters: dict[str, Any]) -> None:
    spec = spec_of(parameters=parameters)
    path = tmp_path / "spec.json"
    write_spec(path, spec)
    assert read_spec(path) == spec
    assert diff(read_spec(path), spec) == []


def test_later_changes_of_the_given_mapping_do_not_reach_the_spec(spec_of: SpecOf) -> None:
    parameters = {"a": {"b": 1}}
    spec = spec_of(parameters=parameters)
    before = spec.run_id
    parameters["a"]["b"] = 2
    assert spec.run_id == before


def test_an_edited_file_is_refused(spec_of: SpecOf, tmp_path: Path) -> None:
    path = tmp_path / "spec.json"
    write_spec(path, spec_of())
    document = json.loads(path.read_text())
    document["spec"]["parameters"]["optimiser"]["lr"] = 2e-4
    path.write_text(json.dumps(document))
    with pytest.raises(IdentityError, match="its content is that of run"):
        read_spec(path)


@pytest.mark.parametrize("damage", [{"extra": 1}, {"code": "d"}, {"code": {"commit": "d"}}, "without seed"])
def test_a_file_with_other_fields_is_refused(spec_of: SpecOf, tmp_path: Path, damage: Any) -> None:
    path = tmp_path / "spec.json"
    write_spec(path, spec_of())
    document = json.loads(path.read_text())
    if damage == "without seed":
        del document["spec"]["seed"]
    else:
        document["spec"] |= damage
    path.write_text(json.dumps(document))
    with pytest.raises(IdentityError, match="missing, unknown or malformed"):
        read_spec(path)


def test_an_absent_or_torn_file_is_a_data_error(tmp_path: Path) -> None:
    path = tmp_path / "spec.json"
    with pytest.raises(DataError):
        read_spec(path)
    path.write_text('{"schema": "trackyard-run/1", "ru')
    with pytest.raises(DataError):
        read_spec(path)


def test_differences_are_named(spec_of: SpecOf) -> None:
    now = spec_of(parameters={"steps": 12, "optimiser": {"lr": 2e-4, "betas": [0.9, 0.95]}}, parent=None)
    assert diff(spec_of(), now) == [
        'parameters.name: "mini" -> absent',
        "parameters.optimiser.lr: 0.0001 -> 0.0002",
        'parent: "1234567890ab" -> null',
    ]
    with pytest.raises(IdentityError) as raised:
        require_same(spec_of(), now)
    assert "parameters.optimiser.lr: 0.0001 -> 0.0002" in raised.value.what
    assert now.run_id in raised.value.fix
    assert raised.value.exit_code == 2


def test_a_difference_in_kind_is_a_difference(spec_of: SpecOf) -> None:
    assert diff(spec_of(parameters={"x": 1}), spec_of(parameters={"x": True})) == ["parameters.x: 1 -> true"]
    assert diff(spec_of(parameters={"x": {}}), spec_of(parameters={"x": None})) == ["parameters.x: {} -> null"]


def test_the_same_passes(spec_of: SpecOf) -> None:
    assert diff(spec_of(), spec_of()) == []
    require_same(spec_of(), spec_of())


@pytest.mark.parametrize("name", ["", "..", "a/b", "Stage2", "-x", "a b"])
def test_names_are_directories(spec_of: SpecOf, name: str) -> None:
    for field in ("track", "stage"):
        with pytest.raises(ConfigError, match=f"{field}="):
            spec_of(**{field: name})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object(), {1, 2}])
def test_what_json_cannot_hold_is_refused(spec_of: SpecOf, value: Any) -> None:
    with pytest.raises(ConfigError, match="parameters of molmo2 stage2"):
        spec_of(parameters={"x": value})


def test_a_secret_is_refused_and_not_shown(spec_of: SpecOf) -> None:
    secret = "hf_" + "Ab1" * 12
    for parameters in (
        {"hub": {"x": secret}},
        {"hub_token": "12345678"},
        {"url": "https://u:" + "pw" * 4 + "@example.org"},
    ):
        with pytest.raises(ConfigError, match="looks like a secret") as raised:
            spec_of(parameters=parameters)
        assert secret not in str(raised.value)
