"""Matrices are found by name and type, counted against the architecture, and refused with what there is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.models.tiny_families import ARMS, tiny
from trackyard.errors import ConfigError, IdentityError
from trackyard.models.nonneg import constrain
from trackyard.models.nonneg_names import VARIANTS
from trackyard.models.nonneg_variants import Declaration, matching
from trackyard.schema import read_document, write_document


@pytest.mark.parametrize(("family", "variant", "matrices"), ARMS)
def test_every_variant_of_every_family(family: str, variant: str, matrices: int) -> None:
    found = matching(tiny(family), variant)
    assert len(found) == matrices
    assert all(type(module) is nn.Linear for module in found.values())
    assert all(name.endswith(VARIANTS[variant].suffixes) for name in found)


def test_conv1d_is_named() -> None:
    with pytest.raises(ConfigError) as error:
        matching(tiny("gpt2"), "mlp_both")
    assert "type 'gpt2': 0 nn.Linear end in mlp.dense_h_to_4h or mlp.dense_4h_to_h, expected 4" in error.value.what
    assert "2 mlp.c_fc (Conv1D), 2 mlp.c_proj (Conv1D), 1 lm_head (Linear)" in error.value.what
    assert "Conv1D, which GPT-2 has, keeps its weight transposed and is not supported" in error.value.why
    assert error.value.fix == "set the model in params.yaml to one of type gpt_neox, llama, qwen2"


def test_the_variant_of_another_family_is_refused_with_what_there_is() -> None:
    with pytest.raises(ConfigError) as error:
        matching(tiny("llama"), "mlp_in")
    assert "0 nn.Linear" in error.value.what
    assert "2 mlp.gate_proj (Linear), 2 mlp.up_proj (Linear), 2 mlp.down_proj (Linear)" in error.value.what
    assert "Conv1D" not in error.value.why
    assert error.value.fix == "set the variant in params.yaml to one of gated_updown, gated_all"


def test_another_architecture_with_the_same_names_is_refused() -> None:
    model = tiny("llama")
    model.config.model_type = "mystery"
    with pytest.raises(ConfigError, match=r"of a model of type 'mystery': 4 nn.Linear"):
        matching(model, "gated_updown")


def test_one_matrix_too_few() -> None:
    model = tiny("gpt_neox")
    model.gpt_neox.layers[1].mlp.dense_h_to_4h = nn.Identity()
    with pytest.raises(ConfigError, match=r"1 nn.Linear end in mlp.dense_h_to_4h, expected 2"):
        matching(model, "mlp_in")


def test_a_matrix_of_another_type() -> None:
    model = tiny("gpt_neox")
    model.gpt_neox.layers[1].mlp.dense_h_to_4h = nn.Bilinear(2, 2, 2)
    model.gpt_neox.extra = nn.ModuleDict({"mlp": nn.ModuleDict({"dense_h_to_4h": nn.Linear(2, 2)})})
    # Two of the right type, but three of the name.
    with pytest.raises(ConfigError, match=r"2 nn.Linear end in mlp.dense_h_to_4h, expected 2"):
        matching(model, "mlp_in")


def test_a_suffix_begins_at_a_dot() -> None:
    model = tiny("gpt_neox")
    model.gpt_neox.extra = nn.ModuleDict({"xmlp": nn.ModuleDict({"dense_h_to_4h": nn.Linear(2, 2)})})
    assert len(matching(model, "mlp_in")) == 2


def test_an_unknown_variant() -> None:
    with pytest.raises(ConfigError, match="no variant 'mlp'"):
        matching(tiny("gpt_neox"), "mlp")


# The declaration -----------------------------------------------------------------------------------------------------


def declared(variant: str = "mlp_both", seed: int = 0) -> Declaration:
    return constrain(tiny("gpt_neox", seed), variant, "signfrozen").declaration


def test_a_declaration_is_printed_and_survives_a_file(tmp_path: Path) -> None:
    found = declared()
    first, second, *_ = found.lines()
    assert first == "signfrozen mlp_both: 4 matrices of 4 expected, 8,192 entries"
    assert second.startswith("  gpt_neox.layers.0.mlp.dense_h_to_4h.weight 64x32, entries below 0: ")
    write_document(tmp_path / "d.json", "trackyard-constraint/1", found.to_json())
    again = Declaration.of_json(read_document(tmp_path / "d.json", "trackyard-constraint/1", fix="-"))
    assert again == found
    found.require_same(again, where="d.json")


def test_the_names_that_the_optimiser_knows() -> None:
    model = tiny("gpt_neox")
    found = constrain(model, "mlp_in", "nonneg").declaration
    parameters = dict(model.named_parameters())
    assert [parameters[name].shape for name in found.trained_names] == [torch.Size([64, 32])] * 2
    free = tiny("gpt_neox")
    names = constrain(free, "mlp_in", "absinit").declaration.trained_names
    assert set(names) <= dict(free.named_parameters()).keys()


def test_another_declaration_is_refused() -> None:
    ours = declared()
    for other, told in (
        (declared("mlp_in"), "variant is mlp_in, declared mlp_both"),
        (replace(ours, form="nonneg"), "form is nonneg, declared signfrozen"),
        (replace(ours, matrices=ours.matrices[1:]), "dense_h_to_4h: absent, declared"),
        (declared(seed=1), "4 differences"),
    ):
        with pytest.raises(IdentityError) as error:
            ours.require_same(other, where="the export")
        assert told in error.value.what
