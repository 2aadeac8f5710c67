"""Samples of configurations, from a sweep that was really answered."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.record.made_runs import Life, make_run
from trackyard.recipes.comparison.nine_samples import CONFIGURATION, NineAnswers
from trackyard.recipes.comparison.pairing import pair_up
from trackyard.recipes.nine.study import Study
from trackyard.record.comparing.summary import RunSummary, read_summary

TASKS = ("tally_qa", "science_qa_img")


def configuration(study: Study, key: str, model: str, **changes: Any) -> RunSummary:
    spec: dict[str, Any] = {
        "track": "nine",
        "stage": CONFIGURATION,
        "parameters": {"key": key, "tasks": list(TASKS)},
        "model": {"digest": model},
    }
    return read_summary(make_run(study.root / "runs", Life(), **(spec | changes)).path)


@pytest.mark.system
def test_the_mean_of_the_samples_is_the_metric_and_images_are_drawn_together(tmp_path: Path) -> None:
    from tests.recipes.nine.tiny_nine import silent, tiny_study
    from trackyard.evaluate.configuration_results import read_configuration
    from trackyard.recipes.nine.sweeping.accuracy import accuracy
    from trackyard.recipes.nine.sweeping.opening import open_sweep

    study = tiny_study(tmp_path)
    accuracy(study, None, silent)
    sweep = open_sweep(study)
    answers = NineAnswers(study.root)
    answers.__dict__["study"] = study
    runs = [configuration(study, key, sweep.evaluated.model) for key in sweep.keys[:2]]
    found = [answers.of(run) for run in runs]
    assert [one.lacks for one in found] == [(), ()]
    for key, one in zip(sweep.keys, found, strict=False):
        for task in TASKS:
            of = study.tasks[task]
            scores = one.scores[f"eval/{task}/{of.metric}"]
            stated = read_configuration(study.place("accuracy", key, task) / "config.json", fix="").metric[of.metric]
            assert sum(scores.values.values()) / len(scores.values) == pytest.approx(stated.value, abs=1e-12)
            assert scores.clusters is not None
            assert scores.clusters.keys() == scores.values.keys()
    assert len(pair_up(found).pairs) == len(TASKS)
    # Answers of another model, and of a configuration that was not measured, are not this run's.
    strange = answers.of(configuration(study, sweep.keys[0], "0" * 64))
    assert strange.scores == {}
    assert all("are of another model" in reason for reason in strange.lacks)
    absent = answers.of(configuration(study, "f" * 64, sweep.evaluated.model))
    assert all("no answers in" in reason for reason in absent.lacks)
    assert answers.of(replace(runs[0], stage="sweep")).lacks[0].startswith("no samples are stored of the stage sweep")
