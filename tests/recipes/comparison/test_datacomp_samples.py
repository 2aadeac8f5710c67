"""Samples of a run of the latents study."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.recipes.datacomp.report.made_results import (
    ITEMS,
    inputs,
    made_study,
    right_answers,
    run_directory,
    write_one,
    write_study,
)
from trackyard.digest import digest_file
from trackyard.recipes.comparison.datacomp_samples import datacomp_samples
from trackyard.recipes.comparison.pairing import pair_up
from trackyard.recipes.datacomp.cells import Cell
from trackyard.recipes.datacomp.report.gathering import declared_results, gather
from trackyard.recipes.datacomp.report.pairs import pairs
from trackyard.recipes.datacomp.study import EVALUATIONS, Study
from trackyard.record.comparing.summary import RunSummary, read_summary

SEED = 42


def written(root: Path) -> Study:
    study = made_study(root, seeds=(SEED,))
    write_study(study)
    for name, cells in declared_results(study).items():
        for cell in cells.values() if name in EVALUATIONS.values() else ():
            measure(study, name, cell)
    for cell in study.parameters.trained_cells.values():
        shutil.copytree(study.export(cell), run_directory(study, cell) / "final")
    return study


def measure(study: Study, name: str, cell: Cell, *, items: str = "items", weights: Cell | None = None) -> None:
    """A result that names the items it is over. weights: of another cell. items: content of their table."""
    path = study.items(next(of for of, result in EVALUATIONS.items() if result == name))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(items)
    table = {path.relative_to(study.root).as_posix(): digest_file(path)}
    write_one(study, name, cell, inputs=inputs(study, weights or cell) | table)


def run_of(study: Study, name: str) -> RunSummary:
    return read_summary(run_directory(study, Cell(name=name, seed=SEED)))


def test_each_arm_of_its_weights_has_its_items(tmp_path: Path) -> None:
    study = written(tmp_path)
    for arm in ("zero_latents", "shuffled_latents"):
        # A control reads the weights of the run, as the evaluation writes down.
        measure(study, "eval_vsr", Cell(name=arm, seed=SEED), weights=Cell(name="world", seed=SEED))
    found = datacomp_samples(run_of(study, "world"), tmp_path)
    for arm in ("zero_latents", "shuffled_latents"):
        answers = found.scores[f"eval/{arm}/vsr/accuracy"].scores.values
        assert (len(answers), sum(answers.values())) == (ITEMS, right_answers(study, Cell(name=arm, seed=SEED)))
    own = found.scores["eval/vsr/accuracy"].scores.values
    assert sum(own.values()) == right_answers(study, Cell(name="world", seed=SEED))
    assert "eval/world/vsr/accuracy" not in found.scores
    # Sets that were not evaluated are named.
    assert any("eval_blink" in reason for reason in found.lacks)


def test_p_is_that_of_the_report_of_the_track(tmp_path: Path) -> None:
    study = written(tmp_path)
    runs = [datacomp_samples(run_of(study, name), tmp_path) for name in ("soft_prompt", "world")]
    ours = {pair.metric: pair.tested for pair in pair_up(runs).pairs}
    theirs = {
        f"eval/{pair.benchmark}/accuracy": pair
        for pair in pairs(gather(study), study.parameters)
        if pair.b == Cell(name="soft_prompt", seed=SEED).label
    }
    assert ours.keys() == theirs.keys()
    for metric, pair in theirs.items():
        assert ours[metric].p == pair.mcnemar_p
        assert ours[metric].difference.samples == pair.items


def test_the_same_ids_of_another_table_are_other_items(tmp_path: Path) -> None:
    study = written(tmp_path)
    before = datacomp_samples(run_of(study, "world"), tmp_path).scores
    measure(study, "eval_vsr", Cell(name="world", seed=SEED), items="other")
    after = datacomp_samples(run_of(study, "world"), tmp_path).scores
    assert {name for name in before if before[name] != after[name]} == {"eval/vsr/accuracy"}


def test_results_of_other_weights_are_not_its_own(tmp_path: Path) -> None:
    study = written(tmp_path)
    run = run_of(study, "world")
    (run.path / "final" / "model.safetensors").write_text("other weights")
    assert datacomp_samples(run, tmp_path).scores == {}
