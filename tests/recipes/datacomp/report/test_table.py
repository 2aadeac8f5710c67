"""Rows of the table: the headline of each set, over seeds, with what guessing would score."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.recipes.datacomp.report.made_results import ITEMS, RIGHT, made_study, write_study
from trackyard.recipes.datacomp.cells import ARMS
from trackyard.recipes.datacomp.report.gathering import gather
from trackyard.recipes.datacomp.report.table import HEADLINE, tabulate
from trackyard.recipes.datacomp.study import EVALUATIONS

SEEDS = (42, 1337)


def test_every_arm_on_every_set(tmp_path: Path) -> None:
    def change(name: str, cell: str, body: dict[str, Any]) -> None:
        if name == "eval_blink":
            body["macro"] = 0.25
        if name == "eval_vsr":
            body["majority"] = {"answer": "True", "accuracy": 0.53}
        if name == "eval_spatial":
            for record in body["records"]:
                record["loglik"] = {}
            body.update(empty_rate=0.01 if cell == "world-42" else 0.0, unparsed_rate=0.2)

    study = made_study(tmp_path, seeds=SEEDS, evaluation__sets=["blink", "vsr", "spatial", "captions"])
    write_study(study, change)
    rows = tabulate(gather(study), study.parameters)
    assert [(row.set, row.arm) for row in rows] == [(name, arm) for name in EVALUATIONS for arm in ARMS]
    found = {(row.set, row.arm): row for row in rows}

    world = found["captions", "world"]
    assert world.scores == {"world-42": RIGHT["world"] / ITEMS, "world-1337": (RIGHT["world"] + 1) / ITEMS}
    assert world.score == pytest.approx(sum(world.scores.values()) / 2)
    assert world.ci95.low == pytest.approx(sum(ends.low for ends in world.ci95_of.values()) / 2)
    assert world.ci95.low < world.score < world.ci95.high
    assert found["captions", "base_gemma"].scores == {"base_gemma": RIGHT["base_gemma"] / ITEMS}

    assert (found["blink", "world"].metric, found["blink", "world"].score) == ("macro", 0.25)
    assert [found[name, "world"].chance for name in EVALUATIONS] == [0.5, 0.53, None, 0.5]
    assert (found["spatial", "world"].empty, found["spatial", "world"].unparsed) == (0.01, 0.2)
    assert found["captions", "world"].empty is None
    assert set(HEADLINE) == set(EVALUATIONS)
    assert world.to_json()["ci95"] == [world.ci95.low, world.ci95.high]
