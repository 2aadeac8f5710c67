"""Folded models are stock models with the same logits; a verification fails on one bad entry, and on nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from tests.models.tiny_families import ARMS, logits, tiny
from trackyard.errors import DataError
from trackyard.models.nonneg import constrain
from trackyard.models.nonneg_export import (
    INDEX,
    SCHEMA,
    ConstraintError,
    fold,
    verify_export,
    verify_model,
    write_folded,
)
from trackyard.models.nonneg_names import FORMS, Form
from trackyard.models.nonneg_variants import Declaration
from trackyard.schema import read_document, write_document

FIRST = "gpt_neox.layers.0.mlp.dense_h_to_4h"


def arm(form: Form = "nonneg", family: str = "gpt_neox", variant: str = "mlp_both") -> tuple[Any, Declaration]:
    model = tiny(family)
    return model, constrain(model, variant, form).declaration


@pytest.mark.parametrize(("family", "variant", "matrices"), ARMS)
@pytest.mark.parametrize("form", FORMS)
def test_folding_keeps_the_logits_and_the_stock_names(family: str, variant: str, matrices: int, form: Form) -> None:
    model, declaration = arm(form, family, variant)
    before, live = logits(model), verify_model(model, declaration)
    fold(model, declaration)
    assert (logits(model) - before).abs().max() <= 1e-5
    stock = tiny(family)
    assert {name: value.shape for name, value in model.state_dict().items()} == {
        name: value.shape for name, value in stock.state_dict().items()
    }
    assert type(model.get_submodule(declaration.matrices[0].name)) is torch.nn.Linear
    folded = verify_model(model, declaration)
    assert live == folded
    assert folded.passed
    assert (folded.examined, folded.entries) == (matrices, declaration.entries)


@pytest.mark.parametrize(
    ("family", "variant"), [("gpt_neox", "mlp_both"), ("llama", "gated_all"), ("qwen2", "gated_all")]
)
def test_a_saved_export_loads_as_a_stock_model(tmp_path: Path, family: str, variant: str) -> None:
    model, declaration = arm("nonneg", family, variant)
    before = logits(model)
    fold(model, declaration)
    write_folded(tmp_path, model)
    exact = AutoModelForCausalLM.from_pretrained(tmp_path / "fp32").eval()
    assert (logits(exact) - before).abs().max() <= 1e-5
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "bf16").dtype == torch.bfloat16
    for name, dtype in (("fp32", "float32"), ("bf16", "bfloat16")):
        report = verify_export(tmp_path / name, declaration)
        report.require()
        assert report.dtypes == (dtype,)
        assert report.examined == len(declaration.matrices)
        write_document(tmp_path / "r.json", SCHEMA, report.to_json())
        body = read_document(tmp_path / "r.json", SCHEMA, fix="-")
        assert body["passed"] is True
        assert body["min"] > 0


def exported(directory: Path) -> Declaration:
    model, declaration = arm()
    fold(model, declaration)
    model.save_pretrained(directory)
    return declaration


def test_an_export_in_several_files(tmp_path: Path) -> None:
    model, declaration = arm()
    fold(model, declaration)
    model.save_pretrained(tmp_path, max_shard_size="20KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    assert verify_export(tmp_path, declaration).passed
    # Negative control: the file with one of the matrices is gone.
    (tmp_path / json.loads((tmp_path / INDEX).read_bytes())["weight_map"][f"{FIRST}.weight"]).unlink()
    lacking = verify_export(tmp_path, declaration)
    assert not lacking.passed
    assert lacking.examined < 4


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (-1e-3, r"weight\[3, 5\] is -0.001, 1 entries below 0"),
        (float("nan"), r"\[3, 5\] is nan"),
        (float("inf"), "inf"),
    ],
)
def test_one_bad_entry_of_an_export(tmp_path: Path, value: float, told: str) -> None:
    declaration = exported(tmp_path)
    file = tmp_path / "model.safetensors"
    weights = load_file(file)
    weights[f"{FIRST}.weight"][3, 5] = value
    save_file(weights, file, metadata={"format": "pt"})
    report = verify_export(tmp_path, declaration)
    assert (report.passed, report.examined) == (False, 4)
    assert report.to_json()["passed"] is False
    write_document(tmp_path / "r.json", SCHEMA, report.to_json())
    with pytest.raises(ConstraintError, match=told):
        report.require()


def test_nothing_examined_is_no_success(tmp_path: Path) -> None:
    _, declaration = arm()
    for report in (
        verify_model(tiny("llama"), declaration),
        verify_export(tmp_path, declaration),
        verify_model(tiny("gpt_neox"), replace(declaration, matrices=())),
        verify_model(tiny("gpt_neox"), replace(declaration, matrices=(), expected=0)),
    ):
        assert report.to_json() | {"where": "", "expected": 0, "problems": []} == {
            "where": "", "form": "nonneg", "expected": 0, "examined": 0, "entries": 0, "min": None, "dtypes": [],
            "problems": [], "passed": False,
        }  # fmt: skip
        with pytest.raises(ConstraintError, match=r"0 of [04] matrices examined"):
            report.require()


def test_a_live_model_that_is_not_the_declared_one() -> None:
    _, declaration = arm()
    untouched = verify_model(tiny("gpt_neox"), declaration)
    assert (untouched.passed, len(untouched.problems)) == (False, 4)
    with pytest.raises(ConstraintError, match="entries below 0"):
        untouched.require()


def test_signs_that_changed_are_seen() -> None:
    model, declaration = arm("signfrozen")
    fold(model, declaration)
    assert verify_model(model, declaration).passed
    with torch.no_grad():
        model.get_submodule(FIRST).weight[0, 0] *= -1
    with pytest.raises(ConstraintError, match=r"entries below 0, declared"):
        verify_model(model, declaration).require()


def test_a_matrix_of_another_shape() -> None:
    model, declaration = arm("absinit")
    model.get_submodule(FIRST).weight.data = torch.ones(3, 2)
    with pytest.raises(ConstraintError, match=r"is \(3, 2\), declared \(64, 32\)"):
        verify_model(model, declaration).require()


def test_a_damaged_export(tmp_path: Path) -> None:
    declaration = exported(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"\x00" * 100)
    with pytest.raises(DataError, match="cannot be read"):
        verify_export(tmp_path, declaration)


def test_folding_needs_exactly_the_declared_matrices(tmp_path: Path) -> None:
    model, declaration = arm()
    with pytest.raises(ConstraintError, match="4 matrices are still parametrised"):
        write_folded(tmp_path, model)
    with pytest.raises(ConstraintError, match="4 matrices are parametrised, 2 declared"):
        fold(model, replace(declaration, matrices=declaration.matrices[:2]))
    fold(model, declaration)
    with pytest.raises(ConstraintError, match="0 matrices are parametrised, 4 declared"):
        fold(model, declaration)
