"""Samples of configurations, from a sweep that was really answered."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.record.made_runs import Life, make_run
from trackyard.errors import DataError
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


def _altered_answers_are_refused(study: Study, key: str, answers: NineAnswers, run: RunSummary) -> None:
    path = study.place("accuracy", key, "science_qa_img") / "samples.jsonl"
    written = path.read_bytes()
    first, *others = written.splitlines(keepends=True)
    record = json.loads(first)
    record["score"] = {name: 1.0 - value for name, value in record["score"].items()}
    path.write_bytes(json.dumps(record, separators=(",", ":")).encode() + b"\n" + b"".join(others))
    with pytest.raises(DataError, match="one of the two was altered"):
        answers.of(run)
    path.write_bytes(b"".join(others))
    assert answers.of(run).lacks == ("science_qa_img: other questions were asked than are today",)
    path.write_bytes(written)


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
            values, clusters = scores.scores.values, scores.scores.clusters
            assert sum(values.values()) / len(values) == pytest.approx(stated.value, abs=1e-12)
            assert clusters is not None
            assert clusters.keys() == values.keys()
            assert scores.asked == answers.asked[task].digest
    assert len(pair_up(found).pairs) == len(TASKS)
    _altered_answers_are_refused(study, sweep.keys[0], answers, runs[0])
    # Answers of another model, and of a configuration that was not measured, are not this run's.
    strange = answers.of(configuration(study, sweep.keys[0], "0" * 64))
    assert strange.scores == {}
    assert all("are of another model" in reason for reason in strange.lacks)
    absent = answers.of(configuration(study, "f" * 64, sweep.evaluated.model))
    assert all("no answers in" in reason for reason in absent.lacks)
    assert answers.of(replace(runs[0], stage="sweep")).lacks[0].startswith("no samples are stored of the stage sweep")
