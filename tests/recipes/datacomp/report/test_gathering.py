"""What may not stand in one table is refused by name, and nothing is left out in silence."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.recipes.datacomp.report.made_results import ITEMS, SETS, made_study, write_one, write_study
from trackyard.errors import DataError
from trackyard.recipes.datacomp.cells import Cell
from trackyard.recipes.datacomp.report.collisions import Collision
from trackyard.recipes.datacomp.report.gathering import ALONE, gather
from trackyard.recipes.datacomp.study import Study

SEEDS = (42, 1337)
WORLD = Cell(name="world", seed=42)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Study:
    study = made_study(tmp_path_factory.mktemp("whole"), seeds=SEEDS)
    write_study(study)
    return study


@pytest.fixture
def study(whole: Study, tmp_path: Path) -> Study:
    shutil.copytree(whole.root, tmp_path, dirs_exist_ok=True)
    return made_study(tmp_path, seeds=SEEDS)


def test_a_whole_study_passes_and_says_how_much_it_examined(whole: Study) -> None:
    found = gather(whole)
    cells, sets = 1 + 6 * len(SEEDS), len(SETS)
    assert found.examined.results == len(ALONE) + 2 * len(SEEDS) + cells * (1 + sets)
    # Two files of each export, and the samples.
    assert found.examined.inputs == 2 * 2 * len(SEEDS) + 1
    assert found.examined.items == dict.fromkeys(SETS, ITEMS)
    assert found.examined.commits == ("c" * 40,)
    # base_gemma and no_world_tokens of both seeds are one model: three pairs of a set are equal.
    assert len(found.collisions.equal) == 3 * sets
    assert found.collisions.compared == sets * (cells * (cells - 1) // 2 - 3)


@pytest.mark.parametrize("name", ["train", "audit_branch", "eval_captions"])
def test_a_missing_cell_and_one_too_many(study: Study, name: str) -> None:
    shutil.rmtree(study.place(name, WORLD))
    with pytest.raises(DataError, match="lacks world/42"):
        gather(study)
    shutil.copytree(study.place(name, Cell(name="world", seed=1337)), study.place(name, WORLD))
    with pytest.raises(DataError, match="a result was copied"):
        gather(study)
    write_one(study, name, WORLD)
    gather(study)
    shutil.copytree(study.place(name, WORLD), study.place(name, Cell(name="world", seed=7)))
    with pytest.raises(DataError, match="holds, beside the declared cells, world/7"):
        gather(study)


@pytest.mark.parametrize("name", ALONE)
def test_a_missing_account(study: Study, name: str) -> None:
    study.document(name).unlink()
    with pytest.raises(DataError) as caught:
        gather(study)
    assert str(study.document(name)) in str(caught.value)


def without_items(name: str, cell: str, body: dict[str, Any]) -> None:
    body.update(n=0, records=[])


def another_gold(name: str, cell: str, body: dict[str, Any]) -> None:
    body["records"][5]["gold"] = "perhaps"


def fewer(name: str, cell: str, body: dict[str, Any]) -> None:
    body["records"].pop()
    body["n"] -= 1


def doubled(name: str, cell: str, body: dict[str, Any]) -> None:
    body["records"][1] = body["records"][0]


def swallowed(name: str, cell: str, body: dict[str, Any]) -> None:
    body["errors"] = 1


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (without_items, "has n=0 and 0 records"),
        (another_gold, "with the same tasks and gold answers"),
        (fewer, "is over 59 items, that of base_gemma over 60"),
        (doubled, "has n=60 and 0 records"),
        (swallowed, "counts 1 errors"),
    ],
)
def test_other_items_are_refused(study: Study, harm: Any, words: str) -> None:
    write_one(study, "eval_vsr", WORLD, change=harm)
    with pytest.raises(DataError, match=words):
        gather(study)


def test_results_of_other_parameters_are_refused(study: Study) -> None:
    write_one(study, "eval_vsr", WORLD, spec_digest="e" * 64)
    with pytest.raises(DataError, match=r"eval_vsr of world-42 has spec_digest e{64}, params.yaml gives [0-9a-f]{64}"):
        gather(study)


@pytest.mark.parametrize("gone", [False, True])
def test_weights_that_are_no_longer_those_that_were_measured(study: Study, gone: bool) -> None:
    path = study.export(WORLD) / "model.safetensors"
    path.unlink() if gone else path.write_text("others")
    with pytest.raises(DataError, match=r"export/world/42/model.safetensors is .*, train of world-42 read"):
        gather(study)


def test_a_file_that_was_edited(study: Study) -> None:
    path = study.document("eval_captions", WORLD)
    path.write_text(path.read_text().replace('"n": 60', '"n": 61').replace('"n":60', '"n":61'))
    with pytest.raises(DataError):
        gather(study)


def test_equal_predictions_of_two_checkpoints_stop_the_comparison(study: Study) -> None:
    source = {}

    def remember(name: str, cell: str, body: dict[str, Any]) -> None:
        source.update(body)

    write_one(study, "eval_captions", Cell(name="world", seed=1337), change=remember)
    write_one(study, "eval_captions", WORLD, change=lambda name, cell, body: body.update(source))
    with pytest.raises(
        Collision, match="world-42 and world-1337 have the same answers and likelihoods on all 60 items"
    ):
        gather(study)
