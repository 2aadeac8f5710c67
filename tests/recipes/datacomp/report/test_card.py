"""Cards say what the stages wrote down, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from tests.recipes.datacomp.report.made_results import ITEMS, RIGHT, made_study, write_study
from trackyard.digest import digest_file
from trackyard.publish.card import model_card, number
from trackyard.recipes.datacomp.cells import Cell
from trackyard.recipes.datacomp.report.card import card_facts, card_path, write_cards
from trackyard.recipes.datacomp.report.gathering import Gathered, gather
from trackyard.recipes.datacomp.study import Study

WORLD, SOFT = Cell(name="world", seed=1337), Cell(name="soft_prompt", seed=42)
CLAIMS = [("vsr", "no claim: 2 seeds where 3 are needed")]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    made = made_study(tmp_path_factory.mktemp("study"), seeds=(42, 1337))
    write_study(made)
    return made


@pytest.fixture(scope="module")
def gathered(study: Study) -> Gathered:
    return gather(study)


def card(study: Study, gathered: Gathered, cell: Cell, **more: Any) -> str:
    return model_card(card_facts(study.parameters, cell, gathered, CLAIMS, **more))


def test_every_part_that_the_specification_asks_for(study: Study, gathered: Gathered) -> None:
    text = card(study, gathered, WORLD)
    front = yaml.safe_load(text.split("---")[1])
    assert front["tags"] == ["theworld", "world", "trackyard"]
    assert "base_model" not in front
    for line in (
        "400 addresses were asked, 290 gave a picture (72.5%); 240 became samples, 30 more are spare",
        "| http_404 | 111 | 27.61% |",
        "| eval_overlap | 12 | 2.99% |",
        "| all | 402 | 100.00% |",
        "| trained parameters | 69,889 (boundaries 128, gain 1, projector 69,760); 69,889 expected |",
        f"| mini | made by this project, under the project's own licence | kind mini, revision made | "
        f"`{digest_file(study.curated)[:12]}` |",
        "| language model | `tiny-gemma3` | none | made by this project",
        "- in_graph after step 1: first_moments of 7, the least 0.1",
        "- branch_connected after step 180: changes (another 0.5, zeros 0.7), reads True",
        "- movement after step 20: tensors of 2",
        "| steps | 180, with 2,880 draws of 240 samples |",
        "branch connected, 4 latents read for 4 pictures",
        "- VSR: no claim: 2 seeds where 3 are needed.",
        "the scores say that the chain works, and nothing about published models",
        f"| run | `{gathered.cells['train'][WORLD.label].header.run_id}` |",
        "trackyard lineage verify artifacts/datacomp/export/world/1337",
    ):
        assert line in text, line
    assert "soft_prompt" not in text.split("## Results")[1].split("## Data")[0]


def test_every_score_is_the_one_that_was_measured(study: Study, gathered: Gathered) -> None:
    """World at its second seed answers one item more than RIGHT says; the interval is the one of the result."""
    facts = card_facts(study.parameters, WORLD, gathered, CLAIMS)
    found = {metric.name: metric for metric in facts.metrics}
    metric = found["VSR world accuracy"]
    assert (metric.value, metric.n) == ((RIGHT["world"] + 1) / ITEMS, ITEMS)
    assert found["VSR base_gemma accuracy"].value == RIGHT["base_gemma"] / ITEMS
    body = gathered.evaluated("vsr")[WORLD.label].body
    assert [metric.low, metric.high] == list(body["ci95"]["accuracy"])
    row = f"| VSR world accuracy | {number(metric.value)} | {number(body['ci95']['accuracy'][0])} to "
    assert row in card(study, gathered, WORLD)
    assert {name.split()[1] for name in found} == {
        "base_gemma",
        "world",
        "zero_latents",
        "shuffled_latents",
        "no_world_tokens",
    }


def test_a_control_says_that_it_is_one(study: Study, gathered: Gathered) -> None:
    text = card(study, gathered, SOFT)
    assert "A control: free vectors" in text
    assert "| captions soft_prompt accuracy |" in text
    assert "branch free vectors" in text


def test_links_of_the_lineage_are_named_once(study: Study, gathered: Gathered) -> None:
    text = card(study, gathered, WORLD, links=(("run", "`abc`"), ("plan", "`def`")), cost=(("attempts", "3"),))
    assert "| run | `abc` |\n| plan | `def` |" in text
    assert text.count("\n| run | ") == 1
    assert "| attempts | 3 |" in text


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
    assert "CC BY 4.0 of the list; each picture has its own" in text


def test_every_trained_cell_has_one(study: Study, gathered: Gathered) -> None:
    assert write_cards(study, gathered, CLAIMS) == 4
    assert card_path(study, WORLD).read_text().startswith("---\n")
