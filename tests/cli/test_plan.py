"""`trackyard plan build|show|check|diff`. The recipe, which would import torch, is stood in for by the plan itself."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from tests.cli.stage_world import lengths, make_root, plan_of, type_into, write_parameters
from trackyard.cli import plan as module
from trackyard.cli.plan import app
from trackyard.errors import ConfigError, IdentityError
from trackyard.plan.plan import Plan


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = make_root(tmp_path)

    def prepared(stage: str, parameters: Path) -> Any:
        found = plan_of(root, str(parameters))
        return SimpleNamespace(
            plan=found, spec=SimpleNamespace(run_id="0123456789ab"), root=root, feed=None,
            start=SimpleNamespace(tokens=None), datasets={name: name for name in found.datasets},
        )  # fmt: skip

    recipe = ModuleType("trackyard.recipes.molmo2.prepare")
    recipe.index_of = lambda dataset, *_: dataset  # type: ignore[attr-defined]
    recipe.dataset_input = lambda dataset, _: lengths(root)[dataset]  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, recipe.__name__, recipe)
    monkeypatch.setattr(module, "_prepare", prepared)
    return root


def test_build_shows_what_it_built(root: Path) -> None:
    typed = type_into(app, root, "build", "stage1")
    lines = typed.out.splitlines()
    plan = plan_of(root)
    assert lines[0] == f"stage1: plan {plan.fingerprint[:12]} in artifacts/plans/{plan.directory.name}"
    entry = next(entry for entry in plan.summary["entries"] if entry["name"] == "pixmo-cap")
    shown = next(line for line in lines if line.startswith("pixmo-cap")).split()
    assert shown[1:4] == ["captions", "60.00", f"{100 * entry['row_share']:.2f}"]
    assert shown[-2:] == [str(entry["rows_drawn"]), f"{entry['epochs']:.2f}"]
    totals = plan.summary["totals"]
    for words in (
        f"6 steps of 4 packs, {totals['rows']} rows", f"{totals['visual_tokens']:,} visual", "text tokens (",
        f"fill: {totals['fill']:.1%} of all positions, at best {totals['bound']:.1%}", "padding",
        "left out: 60 rows of pixmo-cap: no label token", "total variation of the rates: 0.0000",
    ):  # fmt: skip
        assert words in typed.out, words


def test_the_document_holds_the_summary(root: Path) -> None:
    built = type_into(app, root, "build", "stage1", "--json").json()
    shown = type_into(app, root, "show", "stage1", "--json").json()
    assert built == shown
    plan = plan_of(root)
    assert built["run_id"] == "0123456789ab"
    assert built["fingerprint"] == plan.fingerprint
    assert {name: built[name] for name in plan.summary} == plan.summary
    tokens = plan.step_table[:, 0]
    assert built["per_step"]["tokens"] == {"least": tokens.min(), "mean": tokens.mean(), "most": tokens.max()}
    by_folder = type_into(app, root, "show", f"artifacts/plans/{plan.directory.name}", "--json").json()
    assert "run_id" not in by_folder
    assert by_folder["entries"] == built["entries"]


def test_a_plan_that_is_not_there_is_not_built_by_the_way(root: Path) -> None:
    for line in (("show", "stage1"), ("check", "stage1"), ("diff", "stage1", "--against", "params.yaml")):
        with pytest.raises(ConfigError, match="there is no plan of stage1") as caught:
            type_into(app, root, *line)
        assert caught.value.fix == "trackyard plan build stage1"
    write_parameters(root / "other.yaml", steps=2)
    with pytest.raises(ConfigError) as caught:
        type_into(app, root, "show", "stage1", "--params", "other.yaml")
    assert caught.value.fix == "trackyard plan build stage1 --params other.yaml"
    assert not (root / "artifacts").exists()


def test_rows_of_packs(root: Path) -> None:
    plan = plan_of(root)
    body = type_into(app, root, "show", "stage1", "--step", "2", "--slot", "3", "--json").json()
    assert body["packs"] == [
        {"step": 2, "slot": 3, "rows": [
            {"dataset": row.dataset, "row": row.row, "epoch": row.epoch} for row in plan.pack(2, 3)
        ]}
    ]  # fmt: skip
    text = type_into(app, root, "show", "stage1", "--step", "2").out
    assert [line for line in text.splitlines() if line.startswith("step")] == [
        f"step 2, slot {slot}: {len(plan.pack(2, slot))} rows" for slot in range(4)
    ]
    for line in (("--step", "6"), ("--step", "0", "--slot", "4"), ("--step", "-1")):
        with pytest.raises(ConfigError, match="6 x 4 packs"):
            type_into(app, root, "show", "stage1", *line)
    with pytest.raises(ConfigError, match="without --step"):
        type_into(app, root, "show", "stage1", "--slot", "1")


def test_a_plan_is_re_examined(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_of(root)
    typed = type_into(app, root, "check", "stage1")
    assert typed.code == 0
    assert typed.out == f"examined: 24 packs in 6 steps, {len(plan.rows)} rows; 0 problems\n"
    assert type_into(app, root, "check", "stage1", "--json").json()["ok"] is True

    opened = Plan.open

    def damaged(directory: Path) -> Plan:
        found = opened(directory)
        table = found.step_table.copy()
        table[:, 0] += 1
        table[1, 4] += 1
        return replace(found, step_table=table)

    monkeypatch.setattr(Plan, "open", damaged)
    typed = type_into(app, root, "check", "stage1")
    assert typed.code == 1
    assert typed.out.splitlines()[0].startswith("problem: wrong table of steps: step 0: tokens: ")
    assert typed.out.splitlines()[-1].endswith("; 7 problems")
    body = type_into(app, root, "check", "stage1", "--json")
    assert (body.code, body.json()["counts"]) == (1, {"wrong table of steps": 7})


def test_lengths_that_are_not_those_of_the_plan_are_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan_of(root)
    other = replace(lengths(root)["tulu"], index_fingerprint="another")
    recipe: Any = sys.modules["trackyard.recipes.molmo2.prepare"]
    monkeypatch.setattr(recipe, "dataset_input", lambda *_: other)
    with pytest.raises(IdentityError, match="was made from pixmo-cap"):
        type_into(app, root, "check", "stage1")


def test_two_plans(root: Path) -> None:
    write_parameters(root / "other.yaml", steps=9)
    one, other = plan_of(root), plan_of(root, "other.yaml")
    body = type_into(app, root, "diff", "stage1", "--against", "other.yaml", "--json").json()
    assert body["inputs"] == [{"key": "steps", "a": 6, "b": 9}]
    assert body["packs"] == [24, 36]
    assert 0 < body["share_equal"] < 1
    folders = [f"artifacts/plans/{plan.directory.name}" for plan in (one, other)]
    text = type_into(app, root, "diff", *folders).out
    assert f"a: {folders[0]}\nb: {folders[1]}\ninput steps: 6 -> 9\n" in text
    assert f"{body['equal']} of 24 packs are equal, {body['share_equal']:.1%} of the larger plan" in text
    assert "24 of 24 packs are equal, 100.0%" in type_into(app, root, "diff", "stage1", folders[0]).out
    with pytest.raises(ConfigError, match="only stage1 is named"):
        type_into(app, root, "diff", "stage1")
    with pytest.raises(ConfigError, match="'elsewhere' is neither a stage nor the folder of a plan"):
        type_into(app, root, "diff", "stage1", "elsewhere")
