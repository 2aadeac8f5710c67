"""Rows 8, 9 and 10 of the acceptance checks: what the metric must not react to."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.evaluate.attacks.toys import LENGTH, MODELS, POOL, VOCABULARY, Unigram, documents
from trackyard.errors import DataError
from trackyard.evaluate.attacks.metric import counted_targets, delta_nats, mean_loss, next_token_losses
from trackyard.evaluate.attacks.outcome import flipped, triggered
from trackyard.evaluate.attacks.scoring import Scorer


@pytest.mark.parametrize("name", MODELS)
def test_an_attack_that_changes_nothing_scores_exactly_zero(name: str) -> None:
    given_, scorer = documents(), Scorer(MODELS[name])
    found = flipped("random_flips", scorer, given_, given_.ids_NT.clone(), pool_digest=POOL.digest)
    assert found.deltas == [0.0] * 4
    assert all(record.positions == () for record in found.records)
    assert triggered("uat", scorer, given_, [], pool_digest=POOL.digest).deltas == [0.0] * 4


@given(st.lists(st.tuples(st.integers(0, LENGTH - 1), st.integers(0, VOCABULARY - 1)), max_size=8))
def test_flips_cannot_hurt_a_model_that_ignores_its_context(flips: list[tuple[int, int]]) -> None:
    given_ = documents(1)
    attacked = given_.ids_NT.clone()
    for place, token in flips:
        attacked[0, place] = token
    assert flipped("query", Scorer(Unigram()), given_, attacked, pool_digest=POOL.digest).deltas == [0.0]


def test_a_metric_that_counts_flipped_targets_would_blame_that_model() -> None:
    given_, scorer = documents(1), Scorer(Unigram())
    attacked = given_.ids_NT.clone()
    attacked[0, 4] = int(Unigram().logits_V.argmin())
    everything = torch.ones_like(attacked, dtype=torch.bool)
    assert float(delta_nats(scorer.exact(given_.ids_NT), scorer.exact(attacked), everything)) > 0


@given(st.floats(0.1, 10), st.integers(0, 99))
def test_a_model_that_is_worse_everywhere_is_not_more_robust(constant: float, seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    clean, attacked = torch.rand(2, 3, 9, generator=random, dtype=torch.float64).unbind()
    counted = counted_targets(torch.zeros(3, 9), torch.zeros(3, 9))
    delta = delta_nats(clean, attacked, counted)
    worse = delta_nats(clean + constant, attacked + constant, counted)
    assert torch.allclose(delta, worse, atol=1e-12)
    # The published measure shrinks by NLL / (NLL + c), so the worse model looks robust.
    nll = mean_loss(clean, counted)
    shrunk = worse / mean_loss(clean + constant, counted)
    assert torch.allclose(shrunk, delta / nll * nll / (nll + constant), atol=1e-12)
    assert (shrunk.abs() < (delta / nll).abs()).all()


def test_losses_and_counted_targets_by_hand() -> None:
    uniform = next_token_losses(torch.zeros(1, 2, 50_304), torch.tensor([[1, 2]]))
    assert torch.allclose(uniform, torch.log(torch.tensor(50_304.0)))
    original = torch.tensor([[5, 6, 7, 8]])
    assert counted_targets(original, torch.tensor([[5, 9, 7, 8]])).tolist() == [[False, False, True, True]]
    prefixed = torch.tensor([[5, 5, 5, 6, 7, 8]])
    assert counted_targets(original, prefixed, inserted=2).tolist() == [[False] * 3 + [True] * 3]


def test_no_target_left_and_losses_that_are_not_finite_are_refused() -> None:
    one = torch.ones(1, 3)
    with pytest.raises(DataError, match="document 0 of 1 has no target"):
        delta_nats(one, one, torch.zeros(1, 3, dtype=torch.bool))
    with pytest.raises(DataError, match="not finite"):
        delta_nats(one, torch.full((1, 3), torch.nan), torch.ones(1, 3, dtype=torch.bool))
