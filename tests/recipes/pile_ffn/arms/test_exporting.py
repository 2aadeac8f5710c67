"""Exports obey their declaration, live and on the disk, and are put out whole. Row 5 of the pile-ffn spec."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from tests.recipes.pile_ffn.tiny_study import FAMILIES, VARIANTS, VOCABULARY, random_model, tokenizer
from trackyard.models.nonneg import constrain
from trackyard.models.nonneg_export import ConstraintError
from trackyard.models.nonneg_variants import Declaration
from trackyard.recipes.pile_ffn.arms.exporting import put_out, verified, write_model
from trackyard.recipes.pile_ffn.parameters import Family


def exported(folder: Path, family: Family = "gpt_neox") -> tuple[Any, Declaration]:
    model = random_model(family)
    declaration = constrain(model, VARIANTS[family][1], "nonneg").declaration
    write_model(folder, model, tokenizer(), declaration)
    return model, declaration


@pytest.mark.parametrize("family", FAMILIES)
def test_the_stock_class_computes_the_same_from_the_export(tmp_path: Path, family: Family) -> None:
    before = random_model(family)
    constrain(before, VARIANTS[family][1], "nonneg")
    ids = torch.randint(0, VOCABULARY, (2, 24), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        wanted = before(input_ids=ids).logits
    _, declaration = exported(tmp_path, family)
    stock = AutoModelForCausalLM.from_pretrained(tmp_path / "fp32", dtype=torch.float32)
    with torch.no_grad():
        assert (stock(input_ids=ids).logits - wanted).abs().max() <= 1e-5
    assert [row["where"] for row in verified(tmp_path, declaration)] == ["fp32", "bf16"]
    assert len(tokenizer()) == VOCABULARY
    assert (tmp_path / "bf16" / "tokenizer.json").exists()


def test_row_5_one_negative_entry_or_nothing_to_examine_is_never_green(tmp_path: Path) -> None:
    _, declaration = exported(tmp_path)
    path = tmp_path / "bf16" / "model.safetensors"
    weights = load_file(path)
    name = f"{declaration.matrices[0].name}.weight"
    spoiled = weights[name].clone()
    spoiled[3, 5] = -0.25
    save_file(weights | {name: spoiled}, path, metadata={"format": "pt"})
    with pytest.raises(ConstraintError, match=r"\[3, 5\] is -0.25, 1 entries below 0"):
        verified(tmp_path, declaration)
    others = {key: value for key, value in weights.items() if ".mlp." not in key}
    save_file(others, path, metadata={"format": "pt"})
    with pytest.raises(ConstraintError, match="0 of 4 matrices examined"):
        verified(tmp_path, declaration)
    assert verified(tmp_path, None) == [], "an arm without a declaration claims nothing"


def test_a_model_that_is_not_as_declared_is_not_written(tmp_path: Path) -> None:
    model = random_model("gpt_neox")
    declaration = constrain(random_model("gpt_neox"), "mlp_both", "nonneg").declaration
    with pytest.raises(ConstraintError, match="0 matrices are parametrised, 4 declared"):
        write_model(tmp_path, model, tokenizer(), declaration)
    assert not list(tmp_path.iterdir())


def test_what_is_put_out_replaces_what_was_there(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "deep" / "target"
    (source / "fp32").mkdir(parents=True)
    (source / "fp32" / "a").write_text("new")
    (target / "bf16").mkdir(parents=True)
    (target / "bf16" / "b").write_text("old")
    (target.parent / ".partial-target.1.2").mkdir()
    put_out(source, target)
    assert [path.relative_to(target).as_posix() for path in target.rglob("*") if path.is_file()] == ["fp32/a"]
    assert [path.name for path in target.parent.iterdir()] == ["target"]
    assert (source / "fp32" / "a").read_text() == "new"
