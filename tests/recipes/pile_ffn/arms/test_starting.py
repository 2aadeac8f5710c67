"""Where arms start: identities of step 0 (row 3 of the pile-ffn spec), refusals, and weights that are made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import GPT2Config, GPT2LMHeadModel

from tests.recipes.pile_ffn.tiny_study import FAMILIES, VARIANTS, VOCABULARY, tiny_study, tokenizer
from trackyard.errors import ConfigError, DataError, IdentityError
from trackyard.models.nonneg import FLOOR
from trackyard.recipes.pile_ffn.arms.original import CELL
from trackyard.recipes.pile_ffn.arms.starting import load_plain, made_model, start_of, take_weights
from trackyard.recipes.pile_ffn.cells import Arm
from trackyard.recipes.pile_ffn.parameters import Family, MadeModelParameters


@torch.no_grad()
def logits(model: Any) -> torch.Tensor:
    ids = torch.randint(0, VOCABULARY, (2, 24), generator=torch.Generator().manual_seed(1))
    found: torch.Tensor = model.eval()(input_ids=ids).logits
    return found


@torch.no_grad()
def loss(model: Any) -> float:
    ids = torch.randint(0, VOCABULARY, (2, 24), generator=torch.Generator().manual_seed(1))
    return float(model.eval()(input_ids=ids, labels=ids).loss)


@pytest.mark.parametrize("family", FAMILIES)
def test_row_3_identities_of_step_0(tmp_path: Path, family: Family) -> None:
    study = tiny_study(tmp_path, family)
    variant = VARIANTS[family][1]
    untouched = start_of(study, Arm("baseline"))
    assert untouched.declaration is None
    arms = {form: start_of(study, Arm.named(f"{form}_{variant}")) for form in ("nonneg", "signfrozen", "absinit")}
    plain = logits(untouched.model)
    assert (logits(arms["signfrozen"].model) - plain).abs().max() <= 1e-4
    assert abs(loss(arms["nonneg"].model) - loss(arms["absinit"].model)) <= 1e-5
    # Negative control: without the signs it is another function.
    assert (logits(arms["nonneg"].model) - plain).abs().max() > 1e-2
    sizes = {sum(parameter.numel() for parameter in start.model.parameters()) for start in arms.values()}
    assert sizes == {sum(parameter.numel() for parameter in untouched.model.parameters())}
    constrained = arms["nonneg"].constrained
    assert constrained is not None
    assert constrained.lowest >= 0.99 * FLOOR
    assert 0.4 < constrained.flipped < 0.6
    assert arms["signfrozen"].constrained.flipped == 0.0
    assert all(parameter.requires_grad for parameter in arms["nonneg"].model.parameters())


def test_an_architecture_without_the_matrices_is_refused_with_what_it_has(tmp_path: Path) -> None:
    study = tiny_study(tmp_path, "llama")
    with pytest.raises(
        ConfigError, match=r"mlp_both of a model of type 'llama': 0 nn.Linear.*2 mlp.gate_proj"
    ) as raised:
        start_of(study, Arm.named("nonneg_mlp_both"))
    assert raised.value.fix == "set the variant in params.yaml to one of gated_updown, gated_all"
    other = GPT2LMHeadModel(GPT2Config(vocab_size=VOCABULARY, n_embd=32, n_layer=2, n_head=4))
    other.save_pretrained(study.export(CELL) / "fp32")
    with pytest.raises(ConfigError, match=r"type 'gpt2': 0 nn.Linear .* it has .*mlp.c_fc \(Conv1D\)") as raised:
        start_of(study, Arm.named("nonneg_mlp_both"))
    assert "Conv1D, which GPT-2 has" in raised.value.why


def test_an_arm_that_is_not_trained_has_no_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="degraded_mlp_both has no start"):
        start_of(tiny_study(tmp_path), Arm.named("degraded_mlp_both"))


def test_weights_that_are_absent_are_not_drawn(tmp_path: Path) -> None:
    folder = tiny_study(tmp_path).export(CELL) / "fp32"
    weights = load_file(folder / "model.safetensors")
    load_plain(folder, fix="again")
    lost = "gpt_neox.layers.0.mlp.dense_h_to_4h.weight"
    save_file({name: value for name, value in weights.items() if name != lost}, folder / "model.safetensors")
    with pytest.raises(DataError, match=f"lacks 1 weights of GPTNeoXForCausalLM, {lost} first"):
        load_plain(folder, fix="again")
    (folder / "model.safetensors").unlink()
    with pytest.raises(DataError, match="cannot be loaded as a language model"):
        load_plain(folder, fix="again")


@pytest.mark.parametrize("family", FAMILIES)
def test_made_weights_follow_from_their_seed(family: Family) -> None:
    made = MadeModelParameters(family=family, hidden=32, ffn=64, vocabulary=VOCABULARY)
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    first, again = made_model(made, tokenizer()), made_model(made, tokenizer())
    assert torch.rand(1) == expected, "the generator of the process is left alone"
    assert torch.equal(logits(first), logits(again))
    other = made_model(made.model_copy(update={"seed": 1}), tokenizer())
    assert not torch.equal(logits(first), logits(other))
    assert (first.config.model_type, first.config.eos_token_id) == (family, 0)
    assert {parameter.dtype for parameter in first.parameters()} == {torch.float32}


def test_a_tokenizer_of_more_entries_than_rows_is_refused() -> None:
    made = MadeModelParameters(hidden=32, ffn=64, vocabulary=VOCABULARY - 1)
    with pytest.raises(ConfigError, match=f"has {VOCABULARY} entries, model.made.vocabulary is {VOCABULARY - 1}"):
        made_model(made, tokenizer())


def test_trained_weights_are_taken_whole(tmp_path: Path) -> None:
    """A model with a shared table has fewer parameters than entries of its state."""
    study = tiny_study(tmp_path, "qwen2")
    model = start_of(study, Arm.named("nonneg_gated_all")).model
    weights = {name: value.detach() + 1 for name, value in model.named_parameters()}
    take_weights(model, weights)
    assert all(torch.equal(value, weights[name]) for name, value in model.named_parameters())
    plain = start_of(study, Arm("baseline")).model
    with pytest.raises(IdentityError, match=r"12 trained weights and parameters have no counterpart"):
        take_weights(plain, weights)
