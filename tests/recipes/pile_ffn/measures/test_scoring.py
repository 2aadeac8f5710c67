"""Perplexity of a cell: of the test set, from its export, once."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from tests.recipes.pile_ffn.tiny_study import FAMILIES, tiny_study
from trackyard.recipes.pile_ffn.cells import Cell
from trackyard.recipes.pile_ffn.measures import kept, scoring
from trackyard.recipes.pile_ffn.measures.exports import load_exact
from trackyard.recipes.pile_ffn.results import read_result
from trackyard.recipes.pile_ffn.text.token_sets import open_set

UNTOUCHED = Cell(arm="untouched", seed=None)


@pytest.mark.parametrize("family", FAMILIES)
def test_figures_of_the_test_set(tmp_path: Path, family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    study, told = tiny_study(tmp_path, family), []
    found = scoring.perplexity(study, UNTOUCHED, told.append)
    entries = open_set(study, "test").entries
    body = found.body
    assert {document["doc_id"]: document["predicted"] for document in body["documents"]} == {
        entry.doc_id: entry.n_tokens - 1 for entry in entries
    }
    assert body["predicted_tokens"] == sum(entry.n_tokens - 1 for entry in entries)
    assert body["docs"] == len(entries) == len(body["documents"])
    total = math.fsum(document["nll"] for document in body["documents"])
    assert body["nll"] == pytest.approx(total / body["predicted_tokens"])
    assert body["ppl"] == pytest.approx(math.exp(body["nll"]))
    assert body["bpb"] == pytest.approx(total / (math.log(2) * sum(entry.bytes for entry in entries)))
    assert body["by_component"].keys() == {entry.component for entry in entries}
    assert sum(part["predicted_tokens"] for part in body["by_component"].values()) == body["predicted_tokens"]
    assert body["ci95"]["low"] <= body["nll"] <= body["ci95"]["high"]
    assert (found.header.arm, found.header.seed, found.header.data.slice_digest) == ("untouched", None, None)
    names = " ".join(found.header.inputs)
    assert "export/untouched/fp32/model.safetensors" in names
    assert "tokens/test/manifest.json" in names
    assert read_result(study.document("eval_ppl", UNTOUCHED), "eval_ppl") == found
    assert told == [
        f"untouched: perplexity {body['ppl']:.3f} ({body['nll']:.4f} nats) over {body['predicted_tokens']:,} tokens "
        f"of {len(entries)} documents"
    ]
    # The same again is taken, not scored.
    monkeypatch.setattr(scoring, "load_exact", lambda *_: pytest.fail("scored twice"))
    assert scoring.perplexity(study, UNTOUCHED, told.append) == found


def test_a_trained_cell_names_its_slice_and_other_weights_are_scored_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, cell = tiny_study(tmp_path), Cell(arm="baseline", seed=1337)
    first = scoring.perplexity(study, UNTOUCHED, str)
    model = load_exact(study, UNTOUCHED)
    model.get_input_embeddings().weight.data.mul_(1.5)
    model.save_pretrained(study.export(cell) / "fp32")
    asked = []
    monkeypatch.setattr(scoring, "slice_digest", lambda _, replicate: asked.append(replicate) or "slice")
    second = scoring.perplexity(study, cell, str)
    assert (asked, second.header.data.slice_digest) == ([1], "slice")
    pairs = zip(first.body["documents"], second.body["documents"], strict=True)
    assert all(a["doc_id"] == b["doc_id"] and a["nll"] != b["nll"] for a, b in pairs)
    assert kept.measured is scoring.measured
