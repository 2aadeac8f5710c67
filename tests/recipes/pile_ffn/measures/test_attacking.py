"""The stage `attack` on tiny models of every family: what it writes, and that it is made once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.recipes.pile_ffn.tiny_study import ATTACK_TOKENS, FAMILIES, VOCABULARY, random_model, tiny_study
from trackyard.errors import ConfigError, DataError
from trackyard.evaluate.attacks.outcome import SUCCESS_NATS, AttackResult
from trackyard.models.nonneg_export import write_folded
from trackyard.recipes.pile_ffn.cells import UNTOUCHED, Cell
from trackyard.recipes.pile_ffn.measures import attacking
from trackyard.recipes.pile_ffn.measures.attacking import HOTFLIP, UAT, attack
from trackyard.recipes.pile_ffn.parameters import Family
from trackyard.recipes.pile_ffn.results import read_result
from trackyard.recipes.pile_ffn.study import Study
from trackyard.recipes.pile_ffn.text.token_sets import attack_documents, open_set

START = Cell(arm=UNTOUCHED, seed=None)
BLOCKS = {
    UAT: ("uat", "random_trigger"),
    HOTFLIP: ("hotflip_one_shot", "hotflip_greedy", "random_flips", "query"),
}
KEYS = {
    "attack", "config", "pool_digest", "n", "mean_delta_nats", "ci95", "detectable", "median", "success", "delta_ppl",
    "relative_not_primary", "records", "trigger_ids",
}  # fmt: skip


def attacked(study: Study, cell: Cell) -> tuple[dict[str, Any], list[str]]:
    """Bodies by stage, and what was said."""
    said: list[str] = []
    attack(study, cell, said.append)
    return {stage: read_result(study.document(stage, cell), stage).body for stage in BLOCKS}, said


def no_model(*_: object) -> None:
    raise AssertionError("a model was loaded")


@pytest.mark.parametrize("family", FAMILIES)
def test_both_results_hold_every_attack_beside_its_controls(tmp_path: Path, family: Family) -> None:
    study = tiny_study(tmp_path, family)
    bodies, said = attacked(study, START)
    blocks = {name: block for body in bodies.values() for name, block in body["attacks"].items()}
    assert {stage: tuple(sorted(body["attacks"])) for stage, body in bodies.items()} == {
        stage: tuple(sorted(names)) for stage, names in BLOCKS.items()
    }
    for name, block in blocks.items():
        assert block.keys() - {"triggers"} == KEYS
        assert block["config"]["document_tokens"] == ATTACK_TOKENS
        assert block["config"]["seed"] == 42
        assert block["config"]["budget"]["flips"] == 3
        assert set(block["success"]) == {str(tau) for tau in SUCCESS_NATS}
        assert block["ci95"][0] <= block["mean_delta_nats"] <= block["ci95"][1]
        assert block["n"] == len(block["records"]) == (2 if name == "query" else 4)
        result = AttackResult.of_body(block)
        assert all(0 <= token < VOCABULARY for record in result.records for token in record.ids)
    assert len({block["pool_digest"] for block in blocks.values()}) == 1
    assert blocks["uat"]["config"]["token_forwards"] == 1 * 2 * (3 + 4) * 4 * ATTACK_TOKENS
    assert blocks["query"]["config"]["token_forwards"] == (3 * 2 + 2) * 2 * ATTACK_TOKENS
    assert bodies[UAT]["gradient_masking_suspected"].keys() == {"uat"}
    assert bodies[HOTFLIP]["gradient_masking_suspected"].keys() == {"hotflip_one_shot", "hotflip_greedy"}
    assert len(blocks["random_trigger"]["triggers"]) == 2
    assert [line.split(" ")[:2] for line in said] == [
        [f"{START.name}:", name] for name in ("random_trigger", "hotflip_greedy")
    ]


def test_numbers_are_those_of_plain_code_on_the_documents_of_the_study(tmp_path: Path) -> None:
    study = tiny_study(tmp_path)
    bodies, _ = attacked(study, START)
    net = random_model("gpt_neox")
    for name, at in (("uat", "uat_eval"), ("hotflip_greedy", "flip")):
        given = attack_documents(open_set(study, at))
        block = {**bodies[UAT]["attacks"], **bodies[HOTFLIP]["attacks"]}[name]
        assert [record["doc_id"] for record in block["records"]] == list(given)
        for record in block["records"]:
            original, inserted = given[record["doc_id"]], len(block["trigger_ids"] or ())
            after = [*(block["trigger_ids"] or ()), *original]
            for place, token in zip(record["positions"], record["ids"], strict=True):
                after[place] = token
            kept = [i for i in range(1, len(original)) if inserted or i not in record["positions"]]
            clean, found = plain(net, original)[kept], plain(net, after)[[i + inserted for i in kept]]
            assert record["clean"] == pytest.approx(float(clean.mean()), abs=1e-5)
            assert record["delta"] == pytest.approx(float((found - clean).mean()), abs=1e-5)


def plain(net: Any, ids: list[int]) -> torch.Tensor:
    """Loss of every token in nats, that of the first 0."""
    with torch.no_grad():
        logits = net(torch.tensor([ids[:-1]])).logits[0].double()
    losses = -logits.log_softmax(-1)[torch.arange(len(ids) - 1), torch.tensor(ids[1:])]
    return torch.nn.functional.pad(losses, (1, 0))


def test_what_was_measured_is_taken_and_what_was_cut_off_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = tiny_study(tmp_path)
    load = attacking.load_exact
    loads: list[Cell] = []
    monkeypatch.setattr(attacking, "load_exact", lambda *given: (loads.append(given[1]), load(*given))[1])
    attacked(study, START)
    assert loads == [START]
    before = {stage: study.document(stage, START).read_bytes() for stage in BLOCKS}
    # DVC removes what a stage put out. What was cut off in its second part goes on there.
    for stage in BLOCKS:
        study.document(stage, START).unlink()
    (kept,) = (study.runs / "pile_ffn" / "measured" / HOTFLIP).iterdir()
    with monkeypatch.context() as patch:
        patch.setattr(attacking, "load_exact", no_model)
        attacked(study, START)
    assert {stage: study.document(stage, START).read_bytes() for stage in BLOCKS} == before
    kept.unlink()
    with monkeypatch.context() as patch:
        patch.setattr(attacking, "universal_trigger", no_model)
        attacked(study, START)
    again = read_result(study.document(HOTFLIP, START), HOTFLIP)
    assert again.body["attacks"] == bodies_of(before[HOTFLIP], tmp_path)["attacks"]
    # Other weights are another measurement.
    write_folded_over(study, START, seed=1)
    attacked(study, START)
    assert read_result(study.document(HOTFLIP, START), HOTFLIP).body != again.body
    assert loads == [START] * 3


def bodies_of(document: bytes, tmp_path: Path) -> Any:
    path = tmp_path / "earlier.json"
    path.write_bytes(document)
    return read_result(path, HOTFLIP).body


def write_folded_over(study: Study, cell: Cell, *, seed: int) -> None:
    study.export(cell).rename(study.root / f"old-{cell.name}")
    write_folded(study.export(cell), random_model("gpt_neox", seed))


def test_arms_of_a_seed_get_the_same_draws_and_the_draws_of_no_other_seed(tmp_path: Path) -> None:
    study, found = tiny_study(tmp_path), {}
    for number, cell in enumerate(
        [Cell(arm=arm, seed=seed) for arm in ("baseline", "nonneg_mlp_in") for seed in (42, 1337)]
    ):
        write_folded(study.export(cell), random_model("gpt_neox", number))
        bodies, _ = attacked(study, cell)
        found[cell.arm, cell.seed] = bodies
        header = read_result(study.document(UAT, cell), UAT).header
        assert (header.arm, header.seed) == (cell.arm, cell.seed)
        assert header.data.slice_digest is not None
        assert header.precision["search"] == "fp32"

    def draws(arm: str, seed: int) -> Any:
        flips = found[arm, seed][HOTFLIP]["attacks"]["random_flips"]["records"]
        triggers = found[arm, seed][UAT]["attacks"]["random_trigger"]["triggers"]
        return [record["ids"] for record in flips], [trigger["ids"] for trigger in triggers]

    assert draws("baseline", 42) == draws("nonneg_mlp_in", 42)
    assert draws("baseline", 42)[0] != draws("baseline", 1337)[0]
    assert draws("baseline", 42)[1] != draws("baseline", 1337)[1]
    # Losses tell which weights were attacked: no two cells share one.
    clean = {
        cell: tuple(record["clean"] for record in bodies[UAT]["attacks"]["uat"]["records"])
        for cell, bodies in found.items()
    }
    assert len(set(clean.values())) == 4


def test_a_budget_beyond_the_documents_and_an_absent_export_are_refused(tmp_path: Path) -> None:
    study = tiny_study(tmp_path)
    with pytest.raises(DataError, match="there are no weights in"):
        attack(study, Cell(arm="baseline", seed=42), print)
    own = study.parameters.attacks.allowed.model_copy(update={"eval_docs": 5})
    changed = study.parameters.model_copy(update={"attacks": study.parameters.attacks.model_copy(update={"own": own})})
    beyond = Study(root=study.root, parameters=changed)
    beyond.__dict__["code"] = study.code
    with pytest.raises(ConfigError, match="4 documents where the budget asks for 5"):
        attack(beyond, START, print)
    assert not beyond.document(UAT, START).exists()
