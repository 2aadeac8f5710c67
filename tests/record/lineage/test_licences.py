"""Everything that has terms is listed once; what nobody states is listed as unknown; conditions are told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trackyard.digest import digest_file
from trackyard.plan.plan import SCHEMA
from trackyard.record.lineage.licences import UNKNOWN, inherited_terms, licence_rows
from trackyard.record.lineage.links import Hashed, Kind, Link

NONE_STATED = ("unknown", "not stated", "None", "other", "unknown, see the card of org/data")


def link(kind: Kind, name: str, *inputs: Link, files: tuple[Hashed, ...] = (), **facts: str) -> Link:
    return Link(kind=kind, name=name, fix="", facts=facts, files=files, inputs=inputs, absent="a test")


def data(name: str, **facts: str) -> Link:
    return link("snapshot", f"snapshot {name}", **facts)


def terms(*inputs: Link) -> str:
    return inherited_terms(licence_rows(link("made", "made", *inputs)))


@settings(max_examples=40)
@given(st.lists(st.sampled_from(["CC0-1.0", "", *NONE_STATED, "Apache-2.0"]), min_size=1, max_size=8))
def test_no_data_set_is_left_out(licences: list[str]) -> None:
    made = link("made", "made", *(data(f"d{at}", licence=licence) for at, licence in enumerate(licences)))
    rows = licence_rows(made)
    assert sorted(row.name for row in rows) == sorted(f"d{at}" for at in range(len(licences)))
    unknown = [row for row in rows if row.licence == UNKNOWN]
    assert rows[: len(unknown)] == unknown, "they come first"
    assert len(unknown) == sum(licence in ("", *NONE_STATED) for licence in licences)
    assert all(row.name in inherited_terms(rows) for row in unknown)


def test_one_data_set_met_in_two_runs_is_one_row() -> None:
    twice = [data("a", fingerprint="f", licence="MIT"), data("data/a", fingerprint="f", licence="MIT", dataset="a")]
    assert [row.name for row in licence_rows(link("made", "made", *twice))] == ["a"]
    apart = [data("a", fingerprint="f"), data("b", fingerprint="g")]
    assert len(licence_rows(link("made", "made", *apart))) == 2


def test_one_fingerprint_does_not_hide_another_data_set_or_another_licence() -> None:
    """That of latents is that of their encoder, whatever was encoded."""
    sets = [data("a", fingerprint="f", licence="MIT"), data("b", fingerprint="f", licence="CC BY-NC 4.0"),
            data("parent: snapshot a", fingerprint="f", dataset="a")]  # fmt: skip
    rows = licence_rows(link("made", "made", *sets))
    assert [(row.name, row.licence) for row in rows] == [("a", UNKNOWN), ("a", "MIT"), ("b", "CC BY-NC 4.0")]


def test_models_of_others_have_terms_and_made_ones_have_none() -> None:
    hub = link("model", "model base", id="org/base", revision="abc", licence="not stated")
    made = link("model", "model tiny", id="tiny", made="from seed 0", licence="not stated")
    rows = licence_rows(link("made", "made", hub, made))
    assert [(row.kind, row.name, row.licence, row.source) for row in rows] == [
        ("model", "org/base", UNKNOWN, "revision abc")
    ]
    assert "The licence of 1 model is unknown (org/base)" in terms(hub)


@pytest.mark.parametrize(
    ("licence", "condition"),
    [
        ("CC BY-NC-SA 4.0", "no commercial use"),
        ("CC BY-NC-SA 4.0", "derivatives under the same licence"),
        ("CC-BY-ND-4.0", "no derivatives"),
        ("AGPL-3.0", "derivatives under the same licence"),
        ("non-commercial research", "no commercial use"),
    ],
)
def test_conditions_are_told_with_the_licence_that_sets_them(licence: str, condition: str) -> None:
    told = terms(data("a", licence=licence), data("b", licence="MIT"))
    assert f"{licence} asks for {condition}." in told
    assert f"MIT asks for {condition}" not in told


def test_plain_licences_set_no_conditions() -> None:
    assert terms(data("a", licence="MIT"), data("b", licence="Apache-2.0"), data("c", licence="MIT")) == (
        "What was made from these inherits the terms of Apache-2.0 (1 data set); MIT (2 data sets)."
    )
    assert "says nothing about terms" in terms()


def plan(path: Path, entries: list[dict[str, Any]], schema: str = SCHEMA) -> Link:
    path.write_text(json.dumps({"schema": schema, "summary": {"entries": entries}}))
    return link("plan", "plan", files=(Hashed(path=path, algorithm="blake3", digest=digest_file(path)),))


def test_shares_are_those_of_the_plans(tmp_path: Path) -> None:
    entries = [{"dataset": "a", "token_share": 0.25}, {"dataset": "b", "token_share": 0.5},
               {"dataset": "a", "token_share": 0.25}]  # fmt: skip
    sets = [data(name, dataset=name, fingerprint=name * 4) for name in "abc"]
    run = link("run", "run", plan(tmp_path / "plan.json", entries), *sets, stage="stage2")
    assert [row.share for row in licence_rows(run)] == ["stage2 50.0 %", "stage2 50.0 %", ""]
    other = link("run", "run", plan(tmp_path / "plan.json", entries, "another/1"), *sets, stage="stage2")
    assert {row.share for row in licence_rows(other)} == {""}
    # Neither what lies in the place of the recorded plan says something of the run, nor nothing.
    run = link("run", "run", plan(tmp_path / "plan.json", entries), *sets, stage="stage2")
    (tmp_path / "plan.json").write_text((tmp_path / "plan.json").read_text().replace("0.25", "0.75"))
    assert {row.share for row in licence_rows(run)} == {""}
    (tmp_path / "plan.json").unlink()
    assert {row.share for row in licence_rows(run)} == {""}
