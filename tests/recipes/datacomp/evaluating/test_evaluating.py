"""The stage `evaluate`: audit first, every set a result, arms apart; what did not change is kept, any error stops."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.recipes.datacomp.evaluating.small_study import ITEMS, train_again
from trackyard.errors import DataError
from trackyard.recipes.datacomp.cells import Cell
from trackyard.recipes.datacomp.evaluating import evaluating
from trackyard.recipes.datacomp.evaluating.branch_audit import BranchDisconnected
from trackyard.recipes.datacomp.evaluating.evaluating import evaluate, import_ahead
from trackyard.recipes.datacomp.evaluating.spatial import Spatial
from trackyard.recipes.datacomp.results import Result, read_result
from trackyard.recipes.datacomp.study import EVALUATIONS, Study

WORLD, BASE = Cell(name="world", seed=42), Cell(name="base_gemma", seed=None)


def run(study: Study, cell: Cell) -> list[str]:
    said: list[str] = []
    evaluate(study, cell, said.append)
    return said


def result(study: Study, name: str, cell: Cell) -> Result:
    return read_result(study.document(name, cell), name)


def digests(study: Study, cell: Cell) -> dict[str, str]:
    return {name: result(study, name, cell).body["predictions_digest"] for name in EVALUATIONS.values()}


def test_every_arm_has_its_results_and_no_two_are_alike_but_the_two_that_must_be(study: Study) -> None:
    """Rows 9 and 19."""
    import_ahead()
    cells = [cell for arm in study.parameters.arms for cell in study.parameters.cells_of(arm)[:1]]
    cells.append(Cell(name="world", seed=1337))
    said = {cell: run(study, cell) for cell in cells}
    branches = {cell.label: result(study, "audit_branch", cell).body["branch"] for cell in cells}
    assert branches == {
        "base_gemma": "off",
        "world-42": "connected",
        "random_projection-42": "connected",
        "zero_latents-42": "connected",
        "shuffled_latents-42": "connected",
        "no_world_tokens-42": "off",
        "soft_prompt-42": "free vectors",
        "world-1337": "connected",
    }
    assert "logits move by at least another" in said[WORLD][0]
    assert said[BASE][0] == "base_gemma: branch off"
    found = {cell.label: digests(study, cell) for cell in cells}
    assert found.pop("no_world_tokens-42") == found["base_gemma"]
    for name in EVALUATIONS.values():
        assert len({each[name] for each in found.values()}) == len(found)
    for cell, reads in ((WORLD, ITEMS), (BASE, 0)):
        assert result(study, "eval_vsr", cell).body["latent_reads"] == reads
        assert result(study, "eval_blink", cell).body["latent_reads"] == 2 * reads
        assert result(study, "eval_captions", cell).body["images"] == ITEMS
    header = result(study, "eval_vsr", WORLD).header
    assert (header.cell, header.seed, header.base.vae_digest) == ("world", 42, "b" * 64)
    assert {"artifacts/datacomp/eval_data/vsr/items.parquet", "artifacts/datacomp/eval_latents/manifest.json",
            "artifacts/datacomp/export/world/42/world_config.json", "artifacts/datacomp/models/gemma/model.safetensors",
            } <= set(header.inputs)  # fmt: skip


def test_what_is_measured_is_kept_and_what_depends_on_a_change_is_not(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(study, WORLD)
    first = {name: study.document(name, WORLD).read_bytes() for name in ("audit_branch", *EVALUATIONS.values())}
    loads: list[Cell] = []
    loaded = evaluating.load_arm
    monkeypatch.setattr(evaluating, "load_arm", lambda study, cell: loads.append(cell) or loaded(study, cell))
    run(study, WORLD)
    assert first == {name: study.document(name, WORLD).read_bytes() for name in first}
    assert not loads
    train_again(study, WORLD)
    run(study, WORLD)
    assert loads == [WORLD]
    assert all(first[name] != study.document(name, WORLD).read_bytes() for name in first)


def test_an_error_in_one_item_stops_the_stage_and_the_sets_before_it_are_kept(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    scored = Spatial.record

    def broken(self: Spatial, item: Any, answer: Any) -> Any:
        if item.id.endswith("00003"):
            raise NameError("clock_degrees")
        return scored(self, item, answer)

    monkeypatch.setattr(Spatial, "record", broken)
    with pytest.raises(NameError):
        run(study, WORLD)
    assert result(study, "eval_vsr", WORLD).body["n"] == ITEMS
    assert not study.document("eval_spatial", WORLD).exists()
    before = study.document("eval_vsr", WORLD).read_bytes()
    monkeypatch.setattr(Spatial, "record", scored)
    run(study, WORLD)
    assert result(study, "eval_spatial", WORLD).body["n"] == ITEMS
    assert before == study.document("eval_vsr", WORLD).read_bytes()


def test_a_disconnected_branch_is_stopped_before_anything_is_measured(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = evaluating.load_arm

    def broken(study: Study, cell: Cell) -> Any:
        armed = loaded(study, cell)
        armed.model.world.gamma.data.zero_()  # type: ignore[union-attr]
        return armed

    monkeypatch.setattr(evaluating, "load_arm", broken)
    with pytest.raises(BranchDisconnected):
        run(study, WORLD)
    assert not any(study.document(name, WORLD).exists() for name in ("audit_branch", *EVALUATIONS.values()))


def test_empty_answers_stop_the_set_by_name(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    strict = Study(
        root=study.root,
        parameters=study.parameters.model_copy(
            update={"evaluation": study.parameters.evaluation.model_copy(update={"most_empty": 0.02})}
        ),
    )
    monkeypatch.setattr(
        "trackyard.recipes.datacomp.evaluating.asking.generate", lambda model, items, new, batch: [[] for _ in items]
    )
    with pytest.raises(DataError, match=rf"{ITEMS} of {ITEMS} generated answers of blink are empty \(100.0%\)"):
        run(strict, BASE)


def test_items_that_are_absent_are_named(study: Study) -> None:
    study.items("vsr").unlink()
    with pytest.raises(DataError, match=r"items in .*vsr(.|\n)*eval_data"):
        run(study, BASE)


def test_records_are_json_that_says_everything_of_an_item(study: Study) -> None:
    run(study, BASE)
    found = json.loads(study.document("eval_blink", BASE).read_bytes())["body"]
    record = found["records"][0]
    assert record["loglik"].keys() == {"(A)", "(B)"}
    assert {"id", "task", "gold", "pred", "correct", "text", "length", "written", "written_correct"} <= set(record)
    assert record["pred"] == max(record["loglik"], key=record["loglik"].__getitem__)
