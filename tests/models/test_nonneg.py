"""The constraint's mathematics and its start, to the numbers of pile-ffn spec sections 1, 3.1 and 4."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tests.models.tiny_families import ARMS, logits, tiny, tokens
from trackyard.errors import ConfigError, DataError
from trackyard.models.nonneg import FLOOR, NonNegative, SignFrozen, constrain, constrained_modules, inverse_softplus
from trackyard.models.nonneg_names import FORMS, Form


def magnitudes(count: int = 1_000_000) -> torch.Tensor:
    """Log-uniform in [1e-6, 10], fp64."""
    random = torch.Generator().manual_seed(0)
    return torch.exp(torch.empty(count, dtype=torch.float64).uniform_(-13.815510558, 2.302585093, generator=random))


def test_softplus_undoes_the_inverse() -> None:
    exact = magnitudes()
    assert float(((F.softplus(inverse_softplus(exact)) - exact) / exact).abs().max()) <= 1e-14
    single = exact.float()
    error = (F.softplus(inverse_softplus(single).float()).double() - single.double()) / single.double()
    assert float(error.abs().max()) <= 2e-6
    assert float(inverse_softplus(torch.tensor(1e-6, dtype=torch.float64))) == pytest.approx(-13.81551, abs=5e-6)


def test_pretrained_magnitudes_are_not_biased() -> None:
    random = torch.Generator().manual_seed(0)
    weights = (torch.randn(1_000_000, generator=random) * 0.02).abs().clamp(min=FLOOR)
    found = F.softplus(inverse_softplus(weights).float())
    assert abs(float((found.double() - weights.double()).mean())) < 1e-9
    assert float(found.min()) >= 0.99e-6
    # Negative control: the published inverse, with 1e-4 inside and outside of the logarithm.
    biased = F.softplus((torch.log(torch.expm1(weights.double() + 1e-4) + 1e-4)).float())
    assert float((biased.double() - weights.double()).mean()) == pytest.approx(1.98e-4, rel=0.02)


@given(st.lists(st.floats(min_value=1e-6, max_value=10.0), min_size=1, max_size=8))
@settings(max_examples=50, deadline=None)
def test_assigning_a_weight_gives_that_weight(values: list[float]) -> None:
    weight = torch.tensor([values])
    for form in (NonNegative(), SignFrozen(torch.full_like(weight, -1, dtype=torch.int8))):
        signed = weight if not isinstance(form, SignFrozen) else -weight
        assert torch.allclose(form(form.right_inverse(signed)), signed, rtol=2e-6, atol=0)


def test_small_weights_get_small_gradients() -> None:
    free = inverse_softplus(magnitudes(1000)).float().requires_grad_()
    effective = NonNegative()(free)
    effective.sum().backward()
    assert free.grad is not None
    assert torch.allclose(free.grad, -torch.expm1(-effective.detach()), rtol=1e-5)


def test_no_arm_is_monotone_by_theorem() -> None:
    """The activations fall in places (section 1), so that non-negative weights alone prove nothing."""
    at = torch.linspace(-5, 5, 100_001, dtype=torch.float64, requires_grad=True)
    for function, least, where in ((F.gelu, -0.1289, -1.414), (F.silu, -0.0998, -2.399)):
        (slope,) = torch.autograd.grad(function(at).sum(), at)
        assert float(slope.min()) == pytest.approx(least, abs=5e-5)
        assert float(at.detach()[slope.argmin()]) == pytest.approx(where, abs=1e-3)


def test_a_bf16_copy_of_v_costs_more_than_one_of_w() -> None:
    random = torch.Generator().manual_seed(0)
    weights = (torch.randn(200_000, generator=random) * 0.02).abs().clamp(min=FLOOR)
    free = inverse_softplus(weights).float()
    of_v = ((F.softplus(free.bfloat16().float()) - weights) / weights).abs().mean()
    of_w = ((weights.bfloat16().float() - weights) / weights).abs().mean()
    assert float(of_v) == pytest.approx(0.0065, abs=0.0005)
    assert float(of_w) == pytest.approx(0.0014, abs=0.0001)


# The start of an arm -------------------------------------------------------------------------------------------------


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(("family", "variant", "matrices"), ARMS)
def test_step_0(family: str, variant: str, matrices: int) -> None:
    untouched = tiny(family)
    models = {form: tiny(family) for form in FORMS}
    found = {form: constrain(model, variant, form) for form, model in models.items()}
    for form, model in models.items():
        assert parameters(model) == parameters(untouched)
        assert all(parameter.requires_grad for parameter in model.parameters())
        body = found[form].to_json()
        assert (body["matched"], body["expected"], len(set(body["names"]))) == (matrices,) * 3
        assert body["roundtrip_rel_max"] <= 2e-6
        assert len(constrained_modules(model)) == (0 if form == "absinit" else matrices)
    assert (logits(models["signfrozen"]) - logits(untouched)).abs().max() <= 1e-4
    assert (logits(models["nonneg"]) - logits(models["absinit"])).abs().max() <= 1e-5
    # Negative control: without the signs it is another function.
    assert (logits(models["nonneg"]) - logits(untouched)).abs().max() > 1e-3
    for form, flipped in (("nonneg", 0.5), ("absinit", 0.5), ("signfrozen", 0.0)):
        assert found[form].flipped == pytest.approx(flipped, abs=0.05)
    assert found["nonneg"].lowest > 0 > found["signfrozen"].lowest


def test_losses_at_step_0() -> None:
    losses = {}
    for form in FORMS:
        model = tiny("gpt_neox")
        constrain(model, "mlp_both", form)
        losses[form] = model(input_ids=tokens(), labels=tokens()).loss.item()
    assert losses["nonneg"] == pytest.approx(losses["absinit"], abs=1e-5)


def test_zeros_count_as_positive() -> None:
    model = tiny("gpt_neox")
    weight = model.gpt_neox.layers[0].mlp.dense_h_to_4h.weight
    with torch.no_grad():
        weight[0, 0], weight[0, 1] = 0.0, -0.0
    found = constrain(model, "mlp_in", "signfrozen")
    effective = model.gpt_neox.layers[0].mlp.dense_h_to_4h.weight
    assert effective[0, :2].tolist() == pytest.approx([FLOOR, FLOOR], rel=2e-6)
    assert found.declaration.matrices[0].negative == int((effective < 0).sum())


def trained(form: Form, steps: int = 5) -> Any:
    """After steps large enough to push free weights through zero."""
    model = tiny("gpt_neox")
    constrain(model, "mlp_both", form)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    for _ in range(steps):
        model(input_ids=tokens(), labels=tokens()).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return model


def effective_weights(model: Any) -> torch.Tensor:
    layers = model.gpt_neox.layers
    mlps = [layer.mlp for layer in layers]
    return torch.cat([m.weight.detach().flatten() for mlp in mlps for m in (mlp.dense_h_to_4h, mlp.dense_4h_to_h)])


def test_no_step_leaves_the_constraint() -> None:
    start = effective_weights(tiny("gpt_neox"))
    assert bool((effective_weights(trained("nonneg")) >= 0).all())
    frozen = effective_weights(trained("signfrozen"))
    assert bool(((frozen < 0) == (start < 0)).all())
    # Negative control: the same steps without the constraint.
    assert bool((effective_weights(trained("absinit")) < 0).any())


def test_a_model_in_bf16_is_refused_at_the_start_and_in_use() -> None:
    with pytest.raises(ConfigError, match=r"dense_h_to_4h.weight is torch.bfloat16"):
        constrain(tiny("gpt_neox").bfloat16(), "mlp_in", "nonneg")
    model = tiny("gpt_neox")
    constrain(model, "mlp_in", "nonneg")
    with pytest.raises(ConfigError, match=r"a constrained weight is held in torch.bfloat16"):
        model.bfloat16()(input_ids=tokens())


def test_autocast_multiplies_in_bf16_and_makes_weights_in_fp32() -> None:
    model = tiny("gpt_neox")
    constrain(model, "mlp_in", "nonneg")
    layer = model.gpt_neox.layers[0].mlp.dense_h_to_4h
    exact = layer.weight
    with torch.autocast("cpu", torch.bfloat16):
        assert layer.weight.dtype == torch.float32
        assert torch.equal(layer.weight, exact)
        assert layer(torch.ones(1, 32)).dtype == torch.bfloat16


def test_what_cannot_be_constrained() -> None:
    model = tiny("gpt_neox")
    constrain(model, "mlp_in", "nonneg")
    with pytest.raises(ConfigError, match="dense_h_to_4h is constrained already"):
        constrain(model, "mlp_both", "nonneg")
    with pytest.raises(ConfigError, match="no form 'positive'"):
        constrain(tiny("gpt_neox"), "mlp_in", "positive")  # type: ignore[arg-type]
    layer = model.gpt_neox.layers[0].mlp.dense_h_to_4h
    for wrong in (-0.5, 0.0, float("nan")):
        with pytest.raises(DataError, match="where only values above 0 exist"):
            layer.weight = torch.full((64, 32), wrong)


def test_a_state_holds_no_signs_and_fits_a_model_of_the_same_start() -> None:
    model = trained("signfrozen")
    state = {name: value.detach().clone() for name, value in model.named_parameters()}
    again = tiny("gpt_neox")
    constrain(again, "mlp_both", "signfrozen")
    again.load_state_dict(state)
    assert torch.equal(logits(again), logits(model))
