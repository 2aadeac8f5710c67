from pathlib import Path

import pytest

from tests.recipes.pile_ffn.tiny_study import FAMILIES, tiny_study
from trackyard.evaluate.order import corpus
from trackyard.recipes.pile_ffn.cells import Cell
from trackyard.recipes.pile_ffn.measures import order as module
from trackyard.recipes.pile_ffn.measures.order import STAGE, order
from trackyard.recipes.pile_ffn.parameters import Family
from trackyard.recipes.pile_ffn.results import read_result

UNTOUCHED = Cell(arm="untouched", seed=None)


@pytest.mark.parametrize("family", FAMILIES)
def test_an_export_of_each_family_is_probed(tmp_path: Path, family: Family) -> None:
    study = tiny_study(tmp_path, family)
    lines: list[str] = []
    result = order(study, UNTOUCHED, lines.append)
    assert read_result(study.document(STAGE, UNTOUCHED), STAGE) == result
    body = result.body
    assert set(body) == {"corpus", "pooling", "controls", "ffn_direct"}
    assert body["corpus"]["digest"] == corpus.digest()
    assert body["corpus"]["pairs"] == {"fit": 507, "scored": 195}
    assert 0 <= body["corpus"]["cut"] < 936 / 10
    assert set(body["controls"]) == {"random_directions", "shuffled_labels"}
    for by_pooling in (body["pooling"], *body["controls"].values()):
        assert set(by_pooling) == {"last", "mean"}
        for curve in by_pooling.values():
            assert curve["layer"] == [1, 2]
            assert all(
                0 <= low <= score <= high <= 1 for score, (low, high) in zip(curve["score"], curve["ci95"], strict=True)
            )
            assert len(curve["score"]) == len(curve["ci95"]) == len(curve["tied"]) == 2
    assert [check["layer"] for check in body["ffn_direct"]] == [1, 2]
    assert [check["samples"] for check in body["ffn_direct"]] == [8, 8]
    header = result.header
    assert header.globally_monotonic is False
    assert header.precision["directions"] == "fp64"
    assert any(path.endswith("model.safetensors") for path in header.inputs)
    assert "artifacts/pile_ffn/tokens/tokenizer/tokenizer.json" in header.inputs
    (line,) = lines
    assert line.startswith("untouched: order kept in the final layer 0.")


def test_it_is_probed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = tiny_study(tmp_path)
    first = order(study, UNTOUCHED, lambda _: None)
    study.document(STAGE, UNTOUCHED).unlink()
    monkeypatch.setattr(module, "load_exact", None)
    assert order(study, UNTOUCHED, lambda _: None) == first
    assert study.document(STAGE, UNTOUCHED).is_file()
