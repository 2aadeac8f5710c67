"""The degraded control: noise of the right size on the right matrices, and a bisection that says when it fails."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.models.tiny_families import tiny, tokens
from trackyard.errors import ConfigError
from trackyard.models.degraded import EVALUATIONS, TOLERANCE, Noise, UnmatchedError, match_noise
from trackyard.models.nonneg import constrain

NAMES = [f"gpt_neox.layers.{at}.mlp.{part}" for at in (0, 1) for part in ("dense_h_to_4h", "dense_4h_to_h")]


@given(start=st.floats(0.5, 4.0), rise=st.floats(0.0, 8.0), scale=st.floats(0.02, 5.0), power=st.sampled_from([1, 2]))
@settings(max_examples=80, deadline=None)
def test_every_reachable_loss_is_found(start: float, rise: float, scale: float, power: float) -> None:
    def nll(sigma: float) -> float:
        return start + 9 * (1 - math.exp(-((sigma / scale) ** power)))

    found = match_noise(nll, start + rise)
    assert found.gap <= TOLERANCE
    assert found.nll == nll(found.sigma)
    assert found.evaluations <= EVALUATIONS


def test_the_baseline_itself_may_match() -> None:
    assert match_noise(lambda sigma: 2.0 + sigma, 2.005).to_json() == {
        "sigma": 0.0, "nll": 2.0, "target": 2.005, "gap": pytest.approx(0.005), "evaluations": 1,
    }  # fmt: skip


def test_a_loss_that_is_no_number_is_too_high() -> None:
    def nll(sigma: float) -> float:
        return math.nan if sigma > 0.3 else 2.0 + sigma

    assert match_noise(nll, 2.2).sigma == pytest.approx(0.2, abs=TOLERANCE)


def test_a_baseline_worse_than_the_target() -> None:
    with pytest.raises(UnmatchedError, match=r"without noise the loss is 3.0000 nats, above the 2.5000"):
        match_noise(lambda sigma: 3.0 + sigma, 2.5)


def test_a_jump_over_the_target_ends() -> None:
    calls: list[float] = []

    def nll(sigma: float) -> float:
        calls.append(sigma)
        return 2.0 if sigma < 0.7 else 5.0

    with pytest.raises(UnmatchedError, match=r"20 evaluations end at .* wanted 3.0000 within 0.01; sigma is between"):
        match_noise(nll, 3.0)
    assert len(calls) == EVALUATIONS
    with pytest.raises(UnmatchedError, match="20 evaluations"):
        match_noise(lambda sigma: 2.0, 3.0)
    with pytest.raises(ConfigError, match="the loss to be matched is nan"):
        match_noise(lambda sigma: 2.0, math.nan)


def weights(model: Any) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in model.named_parameters()}


def test_noise_is_relative_to_each_matrix_and_touches_no_other() -> None:
    model = tiny("gpt_neox")
    clean = weights(model)
    Noise(model, NAMES, seed=42).apply(0.5)
    noisy = weights(model)
    draws = []
    for name, before in clean.items():
        if name.removesuffix(".weight") not in NAMES:
            assert torch.equal(noisy[name], before)
            continue
        drawn = (noisy[name] - before) / (0.5 * before.square().mean().sqrt())
        assert abs(float(drawn.mean())) < 0.1
        assert float(drawn.std()) == pytest.approx(1, abs=0.1)
        draws.append(drawn.flatten()[:2048])
    correlation = torch.corrcoef(torch.stack(draws)).fill_diagonal_(0)
    assert float(correlation.abs().max()) < 0.1, "each matrix has a draw of its own"


def test_the_same_draw_for_every_sigma_order_and_seed_but_not_another_seed() -> None:
    models = [tiny("gpt_neox") for _ in range(3)]
    clean = weights(models[0])
    first, turned, other = (
        Noise(models[0], NAMES, seed=42), Noise(models[1], NAMES[::-1], seed=42), Noise(models[2], NAMES, seed=43)
    )  # fmt: skip
    first.apply(3.0)
    first.apply(0.25)
    turned.apply(0.25)
    other.apply(0.25)
    found = [weights(model) for model in models]
    assert all(torch.equal(found[0][name], found[1][name]) for name in clean)
    assert not all(torch.equal(found[0][name], found[2][name]) for name in clean)
    first.apply(0.0)
    assert all(torch.equal(weights(models[0])[name], clean[name]) for name in clean)
    with pytest.raises(ConfigError, match="noise on no matrix"):
        Noise(models[0], [], seed=42)


def test_a_trained_model_is_matched_to_its_constrained_twin() -> None:
    model, batch = tiny("gpt_neox"), tokens()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(25):
        model(input_ids=batch, labels=batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    twin = tiny("gpt_neox")
    twin.load_state_dict(model.state_dict())
    declared = constrain(twin, "mlp_both", "nonneg").declaration

    @torch.no_grad()
    def loss(of: Any) -> float:
        return float(of(input_ids=batch, labels=batch).loss)

    noise = Noise(model, [matrix.name for matrix in declared.matrices], seed=42)

    def nll(sigma: float) -> float:
        noise.apply(sigma)
        return loss(model)

    found = match_noise(nll, loss(twin))
    assert found.sigma > 0
    assert abs(loss(model) - loss(twin)) <= TOLERANCE
