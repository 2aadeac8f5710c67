"""Importance is measured on training rows of this model, or read from a file of it; nothing without the knob."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.recipes.nine.tiny_nine import Told, silent, tiny_study
from trackyard.errors import ConfigError, DataError
from trackyard.recipes.nine.results import read_result
from trackyard.recipes.nine.sweeping.importance import importance
from trackyard.recipes.nine.sweeping.opening import open_evaluated


def test_inner_blocks_have_scores_of_this_model(tmp_path: Path) -> None:
    study = tiny_study(tmp_path)
    body = json.loads(study.importance.read_text())
    assert body["model"] == open_evaluated(study).digest
    assert [score is None for score in body["scores"]] == [True, False, False, True]
    assert any(score != 0 for score in body["scores"][1:3])
    assert read_result(study.document("importance"), "importance").body["scores"] == body["scores"]


def test_measured_again_it_is_the_same_and_of_its_rows(tmp_path: Path) -> None:
    study = tiny_study(tmp_path)
    before = study.importance.read_bytes()
    importance(study, silent)
    assert study.importance.read_bytes() == before
    other = tiny_study(tmp_path, {"importance.rows": 5})
    importance(other, silent)
    assert json.loads(other.importance.read_text())["questions"] != json.loads(before)["questions"]


def test_without_the_knob_nothing_is_measured(tmp_path: Path) -> None:
    study, told = tiny_study(tmp_path, {"knobs.blocks": None}), Told()
    study.importance.unlink()
    importance(study, told)
    assert "not turned" in told[0]
    assert not study.importance.exists()
    assert read_result(study.document("importance"), "importance").body["scores"] is None


def test_a_file_that_is_named_is_taken_if_it_is_of_the_model(tmp_path: Path) -> None:
    study = tiny_study(tmp_path, {"importance.file": "scores/mine.json"})
    (tmp_path / "scores").mkdir()
    shutil.move(tmp_path / "artifacts/nine/importance/scores.json", study.importance)
    kept, told = study.importance.read_bytes(), Told()
    importance(study, told)
    assert study.importance.read_bytes() == kept
    assert len(told) == 1
    study.importance.write_text(study.importance.read_text().replace(open_evaluated(study).digest, "f" * 64))
    with pytest.raises(DataError, match="was altered"):
        importance(study, silent)


def test_the_scores_of_another_model_are_refused(tmp_path: Path) -> None:
    from trackyard.evaluate.importance import BlockImportance, write_importance

    study = tiny_study(tmp_path, {"importance.file": "other.json"})
    write_importance(study.importance, BlockImportance(model="f" * 64, questions="q", scores=(None, 0.1, 0.2, None)))
    with pytest.raises(DataError, match=f"scores 4 blocks of the model {'f' * 64}") as refused:
        importance(study, silent)
    assert refused.value.fix == "measure it again: trackyard run nine importance"
    write_importance(
        study.importance,
        BlockImportance(model=open_evaluated(study).digest, questions="q", scores=(None, 0.1, None)),
    )
    with pytest.raises(DataError, match="scores 3 blocks"):
        importance(study, silent)


def test_without_training_rows_nothing_is_measured(tmp_path: Path) -> None:
    """A staged copy has evaluated splits only."""
    study = tiny_study(tmp_path, {"data": {"staged": "somewhere"}})
    with pytest.raises(ConfigError, match="neither a snapshot nor a file") as refused:
        importance(study, silent)
    assert "nine.importance.snapshot" in refused.value.fix
