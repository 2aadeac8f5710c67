"""Cards say what the stages wrote down, and nothing else."""

from __future__ import annotations

import pytest
import yaml

from tests.recipes.datacomp.report.made_results import made_study, write_study
from trackyard.recipes.datacomp.cells import Cell
from trackyard.recipes.datacomp.report.card import model_card
from trackyard.recipes.datacomp.report.claims import claims
from trackyard.recipes.datacomp.report.gathering import Gathered, gather
from trackyard.recipes.datacomp.report.pairs import pairs
from trackyard.recipes.datacomp.report.table import tabulate
from trackyard.recipes.datacomp.study import Study

WORLD, SOFT = Cell(name="world", seed=1337), Cell(name="soft_prompt", seed=42)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    made = made_study(tmp_path_factory.mktemp("study"), seeds=(42, 1337))
    write_study(made)
    return made


@pytest.fixture(scope="module")
def gathered(study: Study) -> Gathered:
    return gather(study)


def card(study: Study, gathered: Gathered, cell: Cell) -> str:
    rows = tabulate(gathered, study.parameters)
    found = claims(gathered, study.parameters, pairs(gathered, study.parameters))
    return model_card(study.parameters, cell.label, cell, gathered, rows, found)


def test_every_part_that_the_specification_asks_for(study: Study, gathered: Gathered) -> None:
    text = card(study, gathered, WORLD)
    front = yaml.safe_load(text.split("---")[1])
    assert front["tags"] == ["trackyard", "theworld", "world"]
    assert "base_model" not in front
    for line in (
        "400 addresses were asked, 290 gave a picture (72.5%); 240 became samples, 30 more are spare",
        "| http_404 | 111 | 27.61% |",
        "| eval_overlap | 12 | 2.99% |",
        "| all | 402 | 100.00% |",
        "| trained parameters | 69,889 (boundaries 128, gain 1, projector 69,760); 69,889 expected |",
        "| language model | `tiny-gemma3@made` | made by this project",
        "- in_graph after step 1: first_moments of 7, the least 0.1",
        "- branch_connected after step 180: changes (another 0.5, zeros 0.7), reads True",
        "- movement after step 20: tensors of 2",
        "| steps | 180, with 2,880 draws of 240 samples |",
        "branch connected, 4 latents read for 4 pictures",
        "| captions (accuracy) | 60 | 0.300 [",
        "no claim: 2 seeds where 3 are needed",
        "the scores say that the chain works, and nothing about published models",
        f"| run | `{gathered.cells['train'][WORLD.label].header.run_id}` |",
    ):
        assert line in text, line
    assert "| set | items | base_gemma | world | zero_latents | shuffled_latents | no_world_tokens |" in text
    assert "soft_prompt" not in text.split("## Results")[1].split("\n- ")[0]


def test_a_control_says_that_it_is_one(study: Study, gathered: Gathered) -> None:
    text = card(study, gathered, SOFT)
    assert "A control: free vectors" in text
    assert "| set | items | base_gemma | soft_prompt |" in text
    assert "branch free vectors" in text


def test_published_models_bring_their_terms(study: Study, gathered: Gathered) -> None:
    origin = {"kind": "hub", "repo": "owner/rows", "revision": "a" * 40, "licence": "CC BY 4.0"}
    gathered.alone["metadata"].body["origin"] = origin  # type: ignore[index]
    values = study.parameters.model_dump(mode="json")
    values["gemma"] |= {"id": "google/gemma-3-4b-it", "revision": "b" * 40, "made": None}
    published = type(study.parameters).model_validate(values)
    study = Study(root=study.root, parameters=published)
    text = card(study, gathered, WORLD)
    front = yaml.safe_load(text.split("---")[1])
    assert front["base_model"] == ["google/gemma-3-4b-it"]
    assert front["datasets"] == ["owner/rows"]
    assert "Gemma Terms of Use" in text
    assert "Licence of the data: CC BY 4.0 of the list; each picture has its own" in text
