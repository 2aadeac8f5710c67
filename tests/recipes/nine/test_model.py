"""The model that is evaluated: made anew, or opened where it is named; what cannot be opened is found here."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.recipes.nine.tiny_nine import Told, silent, study_at, tiny_study
from trackyard.errors import ConfigError, DataError
from trackyard.recipes.nine.model import model
from trackyard.recipes.nine.results import read_result


def test_what_was_made_is_told_and_the_same_again(tmp_path: Path) -> None:
    study, told = tiny_study(tmp_path), Told()
    before = read_result(study.document("model"), "model")
    assert (before.body["blocks"], before.body["experts"]) == (4, 4)
    assert before.header.model == before.body["digest"]
    model(study, told)
    again = read_result(study.document("model"), "model").body
    timeless = [{**body, "training": {**body["training"], "cpu_s": None}} for body in (before.body, again)]
    assert timeless[0] == timeless[1]
    assert told[-1].startswith("model ")
    assert "4 experts" in told[-1]


def test_a_folder_that_is_named_is_opened_and_left_alone(tmp_path: Path) -> None:
    study = tiny_study(tmp_path)
    digest = read_result(study.document("model"), "model").body["digest"]
    shutil.move(study.model, tmp_path / "mine")
    named = study_at(tmp_path, {"model": {"folder": "mine"}})
    model(named, silent)
    opened = read_result(named.document("model"), "model").body
    assert (opened["digest"], opened["training"]) == (digest, None)
    (tmp_path / "mine" / "model.safetensors").unlink()
    with pytest.raises((DataError, ConfigError)):
        model(named, silent)
