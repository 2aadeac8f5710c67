"""Benchmarks of a cell: figures in the result, items beside it, both kept; what is not there is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from tests.recipes.pile_ffn.tiny_study import FAMILIES, tiny_study
from trackyard.digest import digest_bytes
from trackyard.errors import ConfigError, DataError, EnvironmentLacking
from trackyard.evaluate.harness.definitions import DEFINITIONS
from trackyard.recipes.pile_ffn.cells import Cell
from trackyard.recipes.pile_ffn.measures import benchmarks as module
from trackyard.recipes.pile_ffn.measures.benchmarks import NOT_ASKED_FOR, SAMPLES, STAGE, benchmarks
from trackyard.recipes.pile_ffn.measures.exports import load_exact
from trackyard.recipes.pile_ffn.parameters import Family
from trackyard.recipes.pile_ffn.text.token_sets import load_tokenizer

CELL = Cell(arm="untouched", seed=None)
WINDOW = 64
"""Room for every made answer."""
CATALOGUE = Path(__file__).parents[4] / "catalog"


def test_a_cell_is_scored_once_and_its_items_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study, told = tiny_study(tmp_path, training={"window": WINDOW}, benchmarks={"made_items": 4}), []
    found = benchmarks(study, CELL, told.append)
    body, samples = found.body, study.place(STAGE, CELL) / SAMPLES
    assert list(body["tasks"]) == sorted(DEFINITIONS)
    assert body["absent"] == {}
    lines = [json.loads(line) for line in samples.read_text().splitlines()]
    assert [(line["task"], line["doc_id"]) for line in lines] == [(task, n) for task in DEFINITIONS for n in range(4)]
    assert body["samples"] == {"path": SAMPLES, "blake3": digest_bytes(samples.read_bytes()), "items": 20}
    for name, task in body["tasks"].items():
        assert {"n", "chance", "dataset_revision", "task_hash", DEFINITIONS[name].metric} <= task.keys()
        assert task["n"] == 4
    assert sum("items.jsonl" in path for path in found.header.inputs) == 4
    assert len(told) == 5
    # DVC removes what a stage put out; what was measured comes back without a model.
    monkeypatch.setattr(module, "run_on_export", lambda *_, **__: pytest.fail("scored twice"))
    written = samples.read_bytes()
    samples.unlink()
    assert benchmarks(study, CELL, told.append) == found
    assert samples.read_bytes() == written


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_asked_in_the_ids_that_it_was_trained_on(tmp_path: Path, family: Family) -> None:
    """One answer of a last word, scored by hand from the study's own tokenizer."""
    study = tiny_study(
        tmp_path, family, training={"window": WINDOW}, benchmarks={"made_items": 4, "tasks": ["lambada_openai"]}
    )
    benchmarks(study, CELL, str)
    (items,) = (study.runs / "pile_ffn" / "benchmarks").glob("*/lambada/items.jsonl")
    texts = [json.loads(line)["text"] for line in items.read_text().splitlines()]
    asked = [json.loads(line) for line in (study.place(STAGE, CELL) / SAMPLES).read_text().splitlines()]
    tokenizer, model = load_tokenizer(study), load_exact(study, CELL)
    for text, sample in zip(texts, asked, strict=True):
        context, answer = (
            tokenizer(part)["input_ids"] for part in (text.rpartition(" ")[0], " " + text.split(" ")[-1])
        )
        ids = torch.tensor([*context, *answer])[-WINDOW - 1 :]
        with torch.no_grad():
            losses = torch.log_softmax(model(input_ids=ids[None, :-1]).logits[0], -1)
        places = range(len(ids) - len(answer), len(ids))
        expected = sum(float(losses[place - 1, ids[place]]) for place in places)
        assert sample["loglikelihoods"] == [pytest.approx(expected, abs=1e-3)]


@pytest.mark.parametrize("left", [None, b"{}\n"])
def test_items_that_are_gone_or_altered_are_told(tmp_path: Path, left: bytes | None) -> None:
    study = tiny_study(tmp_path, training={"window": WINDOW}, benchmarks={"made_items": 4, "tasks": ["winogrande"]})
    found = benchmarks(study, CELL, str)
    assert found.body["absent"] == {name: NOT_ASKED_FOR for name in DEFINITIONS if name != "winogrande"}
    (kept,) = (study.runs / "pile_ffn" / "measured" / STAGE).glob(f"*{SAMPLES}")
    kept.unlink() if left is None else kept.write_bytes(left)
    with pytest.raises(DataError, match="is gone" if left is None else "is not what was written"):
        benchmarks(study, CELL, str)


def test_unknown_tasks_and_absent_data(tmp_path: Path) -> None:
    study = tiny_study(tmp_path / "a", benchmarks={"tasks": ["hellaswig"]})
    with pytest.raises(ConfigError, match="no benchmark 'hellaswig'"):
        benchmarks(study, CELL, str)
    study = tiny_study(tmp_path / "b", benchmarks={"source": "hub", "tasks": ["winogrande"]})
    (study.root / "catalog").symlink_to(CATALOGUE)
    with pytest.raises(EnvironmentLacking, match="winogrande are not on this machine") as caught:
        benchmarks(study, CELL, str)
    assert caught.value.fix == "trackyard data fetch winogrande"
