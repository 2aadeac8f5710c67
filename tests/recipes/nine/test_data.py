"""The miniature is made, staged and listed; a staged copy that is not whole is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.recipes.nine.tiny_nine import EVALUATED, TASKS, Told, silent, study_at, tiny_study, write_definitions
from trackyard.errors import DataError
from trackyard.recipes.nine.data import data
from trackyard.recipes.nine.results import read_result
from trackyard.recipes.nine.sweeping.opening import asked_tasks


def test_the_miniature_is_staged_with_its_images_and_its_source_is_gone(tmp_path: Path) -> None:
    study = tiny_study(tmp_path)
    body = read_result(study.document("data"), "data").body
    assert body["examined"] > 0
    assert {name: (of["asked"], of["questions"]) for name, of in body["tasks"].items()} == dict.fromkeys(
        TASKS, (EVALUATED, EVALUATED)
    )
    assert {name: of["digest"] for name, of in body["tasks"].items()} == {
        name: of.digest for name, of in asked_tasks(study).items()
    }
    assert not (tmp_path / "artifacts/nine/data/source").exists()


def test_made_again_the_questions_are_the_same_and_another_seed_gives_others(tmp_path: Path) -> None:
    write_definitions(tmp_path)
    told, digests = Told(), []
    for seed in (0, 0, 1):
        study = study_at(tmp_path, {"data.fixture": {"seed": seed, "evaluated": EVALUATED}})
        data(study, told)
        digests.append([of.digest for of in asked_tasks(study).values()])
    assert digests[0] == digests[1]
    assert not set(digests[0]) & set(digests[2])
    assert told[0].startswith("made ")


def test_a_copy_that_lies_elsewhere_is_proved_and_kept(tmp_path: Path) -> None:
    study = tiny_study(tmp_path)
    shutil.move(study.artifacts / "data" / "staged", tmp_path / "copy")
    named = study_at(tmp_path, {"data": {"staged": "copy"}})
    # The numbers of the catalogue are those of the real data sets, which this copy does not hold.
    with pytest.raises(DataError, match="objects examined") as refused:
        data(named, silent)
    assert refused.value.fix
    assert (tmp_path / "copy").is_dir()
    assert not named.document("data").exists()


def test_an_empty_copy_is_refused(tmp_path: Path) -> None:
    write_definitions(tmp_path)
    (tmp_path / "copy").mkdir()
    with pytest.raises(DataError, match="0 objects examined"):
        data(study_at(tmp_path, {"data": {"staged": "copy"}}), silent)
