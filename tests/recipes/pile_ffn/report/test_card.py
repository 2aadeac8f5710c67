"""The card of a cell says what was measured on it, with the intervals of the results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from tests.recipes.pile_ffn.made_results import made_study, write_study
from trackyard.errors import DataError
from trackyard.evaluate.intervals import wilson
from trackyard.publish.card import CardFacts, model_card, number
from trackyard.publish.measured import Measured
from trackyard.recipes.pile_ffn.cells import Cell
from trackyard.recipes.pile_ffn.parameters import ModelParameters
from trackyard.recipes.pile_ffn.report.card import DOCUMENTS, _family, card_facts
from trackyard.recipes.pile_ffn.results import read_result
from trackyard.recipes.pile_ffn.study import Study


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    made = made_study(tmp_path_factory.mktemp("study"), seeds=(42, 1337))
    write_study(made, with_rate)
    return made


def with_rate(stage: str, cell: str, body: dict[str, Any]) -> None:
    if stage == "train":
        body["learning_rate"] = 5e-4


def facts_of(study: Study, cell: Cell) -> CardFacts:
    return card_facts(study, cell, data=(), bases=(), cost=(), lineage=(("run", "`abc`"),), use="no way")


def test_every_metric_is_that_of_the_results(study: Study) -> None:
    for cell in study.parameters.cells.values():
        found: dict[str, Measured] = {metric.name: metric for metric in facts_of(study, cell).metrics}
        ppl = read_result(study.document("eval_ppl", cell), "eval_ppl").body
        nll = found["test nll"]
        assert (nll.value, nll.n, nll.how) == (ppl["nll"], ppl["docs"], DOCUMENTS)
        assert (found["test ppl"].value, found["test bpb"].value) == (ppl["ppl"], ppl["bpb"])
        for name, part in ppl["by_component"].items():
            assert found[f"test {name} nll"].value == part["nll"]
        for name, task in read_result(study.document("eval_bench", cell), "eval_bench").body["tasks"].items():
            for metric in {"acc", "acc_norm"} & set(task):
                share = found[f"{name} {metric}"]
                assert (share.value, share.n, share.chance) == (task[metric]["value"], task["n"], task["chance"])
                if share.low is not None:
                    ends = wilson(round(share.value * share.n), share.n)
                    assert (share.low, share.high) == (ends.low, ends.high)
        for stage in ("attack_uat", "attack_hotflip"):
            for name, attack in read_result(study.document(stage, cell), stage).body["attacks"].items():
                assert found[f"{name} delta_nats"].value == attack["mean_delta_nats"]


def test_the_card_of_a_trained_arm_and_of_the_untouched_model(study: Study) -> None:
    cell = next(cell for cell in study.parameters.trained_cells if cell.arm.startswith("nonneg"))
    text = model_card(facts_of(study, cell))
    body = read_result(study.document("train", cell), "train").body
    assert "| rate | 0.0005, " in text
    assert f"# Pile-FFN, {cell.name}" in text
    assert f"| steps | {body['steps']:,}, " in text
    assert f"{number(body['final']['val_nll'])} held out" in text
    assert "do not make the model monotone" in text
    assert f"trackyard lineage verify artifacts/pile_ffn/export/{cell.path}" in text
    untouched = model_card(facts_of(study, study.parameters.cells["untouched"]))
    assert "as it was" in untouched
    assert "## Training" not in untouched
    assert "monotone" not in untouched


def test_the_family_is_that_of_the_model(study: Study) -> None:
    def family(changed: ModelParameters) -> Sequence[str]:
        return _family(Study(root=study.root, parameters=study.parameters.model_copy(update={"model": changed})))

    model = study.parameters.model
    assert model.made is not None
    assert facts_of(study, Cell(arm="baseline", seed=42)).tags == ("gpt_neox", "pile_ffn", "baseline")
    assert family(model.model_copy(update={"made": model.made.model_copy(update={"family": "llama"})})) == ("llama",)
    published = {"made": None, "id": "owner/model", "revision": "a" * 40}
    assert family(model.model_copy(update=published | {"size": "qwen2.5-0.5b"})) == ("qwen2",)
    assert family(model.model_copy(update=published)) == ()


def test_results_of_other_parameters_are_refused(study: Study) -> None:
    training = study.parameters.training.model_copy(update={"warmup": 0.5})
    other = Study(root=study.root, parameters=study.parameters.model_copy(update={"training": training}))
    with pytest.raises(DataError, match="train of baseline-42 was measured under other parameters"):
        facts_of(other, Cell(arm="baseline", seed=42))
