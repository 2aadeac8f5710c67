"""The control that is only worse: matched on the validation set, the same export each time."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.recipes.pile_ffn.tiny_study import FAMILIES, VARIANTS, VOCABULARY, tiny_study
from trackyard.errors import DataError
from trackyard.models.degraded import TOLERANCE, UnmatchedError
from trackyard.models.nonneg_names import VARIANTS as MATRICES
from trackyard.recipes.pile_ffn.arms.degrading import degrade
from trackyard.recipes.pile_ffn.arms.exporting import put_out
from trackyard.recipes.pile_ffn.arms.original import CELL
from trackyard.recipes.pile_ffn.arms.start import untouched
from trackyard.recipes.pile_ffn.arms.validating import val_nll
from trackyard.recipes.pile_ffn.cells import Cell
from trackyard.recipes.pile_ffn.measures.exports import export_inputs, load_exact
from trackyard.recipes.pile_ffn.parameters import Family
from trackyard.recipes.pile_ffn.results import read_result, write_result
from trackyard.recipes.pile_ffn.study import Study

BASELINE = Cell(arm="baseline", seed=42)
MADE = {"hidden": 32, "ffn": 64, "vocabulary": VOCABULARY, "steps": 40, "learning_rate": 1e-2}


def learned(tmp_path: Path, family: Family = "gpt_neox") -> Study:
    """A study whose model has learned something: noise does not make random weights worse."""
    study = tiny_study(tmp_path, family, model={"made": MADE | {"family": family}})
    untouched(study, lambda _: None, Path("params.yaml"))
    return study


def matched_to(study: Study, variant: str, rise: float) -> float:
    """The baseline is the untouched model, and the non-negative arm is worse by `rise` nats. Returns its loss."""
    put_out(study.export(CELL), study.export(BASELINE))
    target = val_nll(study, load_exact(study, BASELINE)) + rise
    cell = Cell(arm=f"nonneg_{variant}", seed=42)
    header = study.header(
        "train", cell, run_id="r", inputs={}, slice_digest="s", precision={}, device="cpu", wall_s=0.0
    )
    study.document("train", cell).parent.mkdir(parents=True, exist_ok=True)
    write_result(study.document("train", cell), "train", header, {"final": {"val_nll": target}})
    return target


@pytest.mark.parametrize("family", FAMILIES)
def test_noise_is_matched_and_exported(tmp_path: Path, family: Family) -> None:
    study, variant, lines = learned(tmp_path, family), VARIANTS[family][1], list[str]()
    target = matched_to(study, variant, 0.2)
    cell = Cell(arm=f"degraded_{variant}", seed=42)
    degrade(study, cell, lines.append)
    result = read_result(study.document("degrade", cell), "degrade")
    body = result.body
    assert abs(body["nll"] - target) <= TOLERANCE
    assert body["sigma"] > 0
    assert val_nll(study, load_exact(study, cell)) == pytest.approx(body["nll"], abs=1e-5)
    assert export_inputs(study, BASELINE).items() <= result.header.inputs.items()
    assert len(lines) == 1
    before = load_file(study.export(BASELINE) / "fp32" / "model.safetensors")
    after = load_file(study.export(cell) / "fp32" / "model.safetensors")
    disturbed = {name for name, value in before.items() if not torch.equal(value, after[name])}
    assert disturbed == {f"{name}.weight" for name in body["names"]}
    assert len(disturbed) == 2 * len(MATRICES[variant].suffixes)
    assert (study.export(cell) / "bf16" / "tokenizer.json").exists()


def test_what_was_matched_is_not_searched_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = learned(tmp_path)
    matched_to(study, "mlp_both", 0.2)
    cell = Cell(arm="degraded_mlp_both", seed=42)
    degrade(study, cell, lambda _: None)
    first = load_file(study.export(cell) / "fp32" / "model.safetensors")
    monkeypatch.setattr("trackyard.recipes.pile_ffn.arms.degrading.match_noise", None)
    degrade(study, cell, lambda _: None)
    again = load_file(study.export(cell) / "fp32" / "model.safetensors")
    assert all(torch.equal(value, again[name]) for name, value in first.items())


def test_an_export_of_other_weights_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = learned(tmp_path)
    matched_to(study, "mlp_both", 0.2)
    cell = Cell(arm="degraded_mlp_both", seed=42)

    def wrong(target: Path, _model: object, _tokenizer: object, *, lineage: object) -> None:
        put_out(study.export(BASELINE), target)

    monkeypatch.setattr("trackyard.recipes.pile_ffn.arms.degrading.put_out_model", wrong)
    with pytest.raises(DataError, match=r"layers.0.mlp.dense_h_to_4h.weight in the export .* is not the weight"):
        degrade(study, cell, lambda _: None)


def test_a_baseline_that_is_worse_already_is_refused(tmp_path: Path) -> None:
    study = tiny_study(tmp_path)
    matched_to(study, "mlp_both", -0.5)
    with pytest.raises(UnmatchedError, match="without noise the loss is"):
        degrade(study, Cell(arm="degraded_mlp_both", seed=42), lambda _: None)
    assert not study.document("degrade", Cell(arm="degraded_mlp_both", seed=42)).exists()
