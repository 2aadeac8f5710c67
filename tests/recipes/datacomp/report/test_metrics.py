"""Numbers of a comparison stand beside the curves of the run whose weights they are of."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.recipes.datacomp.report.made_results import made_study, run_directory, write_study
from trackyard.recipes.datacomp.cells import Cell
from trackyard.recipes.datacomp.report.gathering import gather
from trackyard.recipes.datacomp.report.metrics import cell_metrics, record_metrics
from trackyard.record.spool import read_spool

WORLD, SOFT = Cell(name="world", seed=42), Cell(name="soft_prompt", seed=42)


def test_a_run_has_the_scores_of_all_arms_of_its_weights_once(tmp_path: Path) -> None:
    study = made_study(tmp_path, seeds=(42,))
    write_study(study)
    gathered = gather(study)
    found = cell_metrics(study, gathered, WORLD)
    assert found["eval/world/captions/accuracy"] == pytest.approx(54 / 60)
    arms = ("world", "zero_latents", "shuffled_latents", "no_world_tokens")
    assert set(found) == {f"eval/{arm}/{name}/accuracy" for arm in arms for name in ("vsr", "captions")}
    assert set(cell_metrics(study, gathered, SOFT)) == {
        f"eval/soft_prompt/{name}/accuracy" for name in ("vsr", "captions")
    }
    for _ in range(2):
        assert record_metrics(study, gathered) == (2, [])
    spools = sorted((run_directory(study, WORLD) / "spool").glob("attempt-*.jsonl"))
    told = [event for spool in spools for _, event in read_spool(spool).events if event["event"] == "metrics"]
    assert [event["values"] for event in told] == [{"train/loss": 2.0}, found]
    path = run_directory(study, SOFT)
    path.rename(path.with_name("elsewhere"))
    assert record_metrics(study, gathered) == (1, ["soft_prompt-42"])
