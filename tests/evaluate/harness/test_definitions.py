"""The tasks are those of the installed package: only where their items lie is ours."""

from __future__ import annotations

import sys
from pathlib import Path

import lm_eval.tasks
import pytest
from lm_eval.tasks._yaml_loader import load_yaml

from tests.evaluate.harness.small_exports import made_items
from trackyard.catalog.entries import load_catalogue
from trackyard.errors import ConfigError
from trackyard.evaluate.harness.definitions import DEFINITIONS, load_tasks, require_known

PLACE = Path(lm_eval.tasks.__file__).parent
CATALOGUE = Path(__file__).parents[3] / "catalog"
OURS = {"dataset_path", "dataset_kwargs", "training_split", "num_fewshot", "metadata"}


@pytest.mark.parametrize("name", DEFINITIONS)
def test_facts_are_those_of_the_package_and_of_the_catalogue(name: str) -> None:
    definition = DEFINITIONS[name]
    stated = load_yaml(PLACE / definition.path, resolve_func=False)
    assert stated["task"] == name
    assert stated["dataset_path"] == load_catalogue(CATALOGUE)[definition.entry].hub[0].repo
    assert stated["dataset_name"] == definition.config
    assert definition.split == stated.get("test_split") or definition.split == stated["validation_split"]
    # HellaSwag's acc_norm is a metric of its own in the definition.
    assert definition.metric in {metric["metric"] for metric in stated["metric_list"]}


def test_a_loaded_task_differs_from_the_package_only_in_its_items(tmp_path: Path) -> None:
    for folder in ("scratch", "items"):
        (tmp_path / folder).mkdir()
    before = [sys.modules.get(name) for name in ("rouge_score", "nltk")]
    tasks = load_tasks(made_items(tmp_path / "items" / "made", 4), tmp_path / "scratch")
    assert [sys.modules.get(name) for name in ("rouge_score", "nltk")] == before
    assert list(tasks) == list(DEFINITIONS)
    for name, task in tasks.items():
        stated = load_yaml(PLACE / DEFINITIONS[name].path)
        found = task.config.to_dict(keep_callable=True)
        compared = {key for key, value in stated.items() if value is not None} - OURS - {"tag"}
        assert compared > {"task", "output_type", "metric_list", "doc_to_text"}
        for key in compared:
            if callable(stated[key]):
                assert (stated[key].__module__, stated[key].__name__) == (found[key].__module__, found[key].__name__)
            else:
                assert found[key] == stated[key], (name, key)
        assert (task.config.num_fewshot, task.config.training_split) == (0, None)
        assert len(task.eval_docs) == 4


@pytest.mark.parametrize("names", [("hellaswag", "hellaswig"), ()])
def test_other_names_are_refused(names: tuple[str, ...], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no benchmark 'hellaswig'" if names else "no benchmark is named") as caught:
        require_known(names)
    assert "lambada_openai, hellaswag, winogrande" in caught.value.why


def test_a_blind_choice() -> None:
    item = {"mc2_targets": {"labels": [1, 1, 0, 0, 0]}}
    assert DEFINITIONS["truthfulqa_mc2"].chance(item, 5) == 0.4
    assert DEFINITIONS["truthfulqa_mc1"].chance(item, 4) == 0.25
    assert DEFINITIONS["lambada_openai"].chance(item, 1) is None
