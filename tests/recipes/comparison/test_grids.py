"""Comparisons as tables of texts and as JSON, from run directories."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.record.made_runs import Life, make_run
from trackyard.digest import canonical_json
from trackyard.recipes.comparison.comparing import Findings, find
from trackyard.recipes.comparison.document import SCHEMA, comparison_document, track_document
from trackyard.recipes.comparison.grids import ABSENT, comparison_grids, costs_grid, shown_value, track_grid
from trackyard.record.code import CodeIdentity
from trackyard.record.comparing.comparison import compare_runs
from trackyard.record.comparing.summary import read_summaries, read_summary
from trackyard.record.comparing.track_table import track_table
from trackyard.record.rundir import RunDirectory
from trackyard.runner import SystemRunner


def made(root: Path, loss: float, **changes: Any) -> RunDirectory:
    life = Life(metrics=[(changes.get("seed", 7), {"validation/loss": loss, "train/loss": 1.0})], machine=2)
    return make_run(root / "runs", life, **changes)


def found_in(root: Path) -> Findings:
    """Two runs in a folder that is no checkout."""
    code = CodeIdentity(commit="e" * 40, dirty_digest=None)
    runs = [made(root, 2.0, parent=None), made(root, 1.5, seed=9, code=code)]
    return find([read_summary(run.path) for run in runs], root, SystemRunner())


def test_every_table_names_the_runs_and_marks_the_better_value(tmp_path: Path) -> None:
    findings = found_in(tmp_path)
    ids = [run.run_id for run in findings.comparison.runs]
    grids = {grid.title.partition(" (")[0]: grid for grid in comparison_grids(findings)}
    assert list(grids) == ["Runs", "What differs", "What came out", "What it cost"]
    assert grids["What differs"].header == ("", f"1 {ids[0]}", f"2 {ids[1]}")
    assert grids["What differs"].rows == (
        ("code: commit", "d" * 12, "e" * 12),
        ("parent", "none", "1234567890ab"),
        ("seed", "7", "9"),
    )
    assert grids["What came out"].rows[0] == (
        "validation/loss (nats per token)",
        "↓",
        "2 at step 7",
        "1.5 at step 9 *",
    )
    assert grids["What it cost"].rows[1:3] == (
        ("devices (device h)", "2", "2"),
        ("energy of GPUs (kWh)", "unknown", "unknown"),
    )
    assert all(line.startswith("| ") for grid in grids.values() for line in grid.markdown())


def test_the_document_holds_the_numbers_and_is_json(tmp_path: Path) -> None:
    document = json.loads(json.dumps(comparison_document(found_in(tmp_path)), allow_nan=False))
    assert (document["schema"], document["of"]) == (SCHEMA, "runs")
    assert document["differences"][1] == {
        "kind": "parent",
        "name": "parent",
        "values": [{"value": None}, {"value": "1234567890ab"}],
    }
    assert document["outcomes"][0]["values"] == [2.0, 1.5]
    assert document["outcomes"][0]["best"] == [1]
    assert document["code"][0]["absent"] == f"{'d' * 40} is not in this checkout"
    assert [one["values"] for one in document["costs"]][:3] == [[1.0, 1.0], [2.0, 2.0], [None, None]]
    assert {one["family"] for one in document["verdicts"]} == {"validation", "train"}


def test_a_track_is_a_table_and_a_document(tmp_path: Path) -> None:
    for seed, rate, loss in ((1, 0.1, 2.0), (2, 0.1, 3.0), (1, 0.2, 1.0)):
        made(tmp_path, loss, seed=seed, parameters={"rate": rate})
    table = track_table(read_summaries(tmp_path / "runs"), "molmo2")
    grid = track_grid(table)
    assert grid.header == ("runs", "seeds", "rate", "validation/loss (nats per token) ↓", "device h", "kWh")
    assert [row[1:] for row in grid.rows] == [
        ("1", "0.2", "1", "2", "unknown"),
        ("1, 2", "0.1", "2.5 ± 0.71", "4", "unknown"),
    ]
    document = json.loads(json.dumps(track_document(table), allow_nan=False))
    assert document["rows"][1]["metrics"]["validation/loss"]["mean"] == 2.5
    assert document["rows"][1]["values"] == {"rate": {"value": 0.1}}
    assert (document["of"], document["columns"]) == ("track", ["rate"])


def test_a_table_says_what_differs_by_seed_and_of_how_many_a_mean_is(tmp_path: Path) -> None:
    for seed, loss in ((1, 2.0), (2, float("nan"))):
        made(tmp_path, loss, seed=seed, plan=str(seed) * 64, parameters={"rate": 0.1})
    made(tmp_path, 3.0, seed=1, parameters={"rate": 0.2})
    table = track_table(read_summaries(tmp_path / "runs"), "molmo2")
    rows = [dict(zip(track_grid(table).header, row, strict=True)) for row in track_grid(table).rows]
    loss = "validation/loss (nats per token) ↓"
    assert [(row["seeds"], row["data"] == "by seed", row[loss]) for row in rows] == [
        ("1, 2 (each on data of its own)", True, "2 (1 of 2)"),
        ("1", False, "3"),
    ]
    document = track_document(table)
    assert document["rows"][0]["values"]["data:"] == {"by_seed": True}
    assert document["rows"][0]["metrics"]["validation/loss"]["runs"] == 1


@pytest.mark.parametrize(("seconds", "shown"), [(3599, "1"), (3_598_200, "1,000"), (3_597_000, "999"), (36, "0.01")])
def test_hours_have_three_digits(tmp_path: Path, seconds: int, shown: str) -> None:
    runs = [
        make_run(tmp_path / "runs", Life(metrics=[(1, {"train/loss": 1.0})], machine=1, seconds=seconds), seed=seed)
        for seed in (1, 2)
    ]
    grid = costs_grid(compare_runs([read_summary(run.path) for run in runs]))
    assert grid.rows[0] == ("training (h)", shown, shown)


def test_values_for_people() -> None:
    shown = [shown_value(value) for value in (None, "null", '"text"', "1e-05", f'"{"a" * 64}"', '["x"]', "true")]
    assert shown == ["absent", "none", "text", "1e-05", "a" * 12, '["x"]', "true"]


LEAF = st.none() | st.booleans() | st.integers(-3, 3) | st.floats(-1, 1) | st.sampled_from(
    ["absent", "none", "null", "true", "1", "0.5", "1e-4", "[]", '"a"', "a"]
)  # fmt: skip


@given(LEAF, LEAF)
def test_values_that_differ_do_not_look_alike(one: Any, other: Any) -> None:
    texts = [canonical_json(value).decode() for value in (one, other)]
    assert (shown_value(texts[0]) == shown_value(texts[1])) == (texts[0] == texts[1])
    assert ABSENT not in map(shown_value, texts)
