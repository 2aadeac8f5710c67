"""What the stages of a sweep open: questions by task, the model as it will be evaluated, and a plan that is whole."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.recipes.nine.tiny_nine import EVALUATED, TASKS, tiny_study
from trackyard.errors import ConfigError, DataError
from trackyard.models.knobs import decoder_blocks
from trackyard.recipes.nine.sweeping.opening import asked_tasks, kind_of_device, open_evaluated, open_sweep


def test_tasks_are_in_the_order_of_the_parameters_with_limits_of_their_own(tmp_path: Path) -> None:
    study = tiny_study(tmp_path, {"tasks": [*reversed(TASKS)], "data.limit": 4, "data.samples": {TASKS[0]: 5}})
    found = asked_tasks(study)
    assert {name: len(of.ids) for name, of in found.items()} == {TASKS[1]: 4, TASKS[0]: 5}
    assert list(found) == [*reversed(TASKS)]
    assert all(len(of.questions) == EVALUATED for of in found.values())
    of = found[TASKS[0]]
    assert of[of.ids[1]].media
    assert not of.bare(of.ids[1]).media


def test_more_questions_than_a_data_set_has_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"7 questions of {TASKS[0]}, which has 6"):
        asked_tasks(tiny_study(tmp_path, {"data.limit": 7}))


def test_an_absent_data_set_is_named(tmp_path: Path) -> None:
    study = tiny_study(tmp_path)
    folder = study.staging.staged / TASKS[1]
    folder.rename(tmp_path / "away")
    with pytest.raises(DataError, match=f"no staged copy of {TASKS[1]}"):
        asked_tasks(study)


def test_the_model_opens_in_the_precision_of_the_study(tmp_path: Path) -> None:
    study = tiny_study(tmp_path, {"model.precision": "bf16"})
    subject = open_evaluated(study)
    assert {weight.dtype for weight in subject.model.parameters()} == {torch.bfloat16}
    assert subject.device.type == kind_of_device()
    assert len(decoder_blocks(subject.model)) == 4
    assert torch.get_num_threads() == study.parameters.threads


def test_an_absent_plan_says_which_stage_makes_it(tmp_path: Path) -> None:
    study = tiny_study(tmp_path)
    study.sweep.unlink()
    with pytest.raises(DataError) as refused:
        open_sweep(study)
    assert refused.value.fix.endswith("dvc repro pipelines/nine/dvc.yaml:sweep")
