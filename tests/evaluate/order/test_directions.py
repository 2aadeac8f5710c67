import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from trackyard.errors import DataError
from trackyard.evaluate.order.directions import bootstrap_size, fitted_directions, random_directions


def states(pairs: int = 40, width: int = 6, seed: int = 0, shift: float = 0.5) -> tuple[torch.Tensor, torch.Tensor]:
    """Weaker and stronger ones [N, D], of features with very different spreads; the second one carries the level."""
    rng = np.random.default_rng(seed)
    weak, strong = rng.normal(3, 1, (2, pairs, width)) * 10.0 ** np.arange(-2, width - 2)
    strong[:, 1] += shift
    return torch.from_numpy(weak).float(), torch.from_numpy(strong).float()


def test_each_direction_is_fitted_on_354_of_507_pairs() -> None:
    assert bootstrap_size(507) == 354
    assert bootstrap_size(10) == 20


def test_they_are_what_gradient_descent_on_copies_of_the_drawn_pairs_finds() -> None:
    """The plainest code: one direction at a time, a row for each draw, gradients by autograd."""
    weak, strong = states()
    found = fitted_directions(weak, strong, count=3, rng=np.random.default_rng(1), steps=300)
    rng = np.random.default_rng(1)
    drawn, first = rng.multinomial(28, np.full(40, 1 / 40), size=3), rng.normal(0, 0.01, (3, 6))
    both = torch.cat([weak, strong]).double()
    mean, sigma = both.mean(dim=0), both.std(dim=0, correction=0)
    for direction, counts, start in zip(found, drawn, first, strict=True):
        places = np.repeat(np.arange(40), counts)
        rows = (torch.cat([weak[places], strong[places]]).double() - mean) / sigma
        labels = torch.cat([torch.zeros(28), torch.ones(28)]).double()
        w = torch.from_numpy(start).requires_grad_()
        for _ in range(300):
            loss = F.binary_cross_entropy_with_logits(rows @ w, labels) + 0.01 / 2 * w.square().sum()
            (gradient,) = torch.autograd.grad(loss, w)
            with torch.no_grad():
                w -= 0.5 * gradient
        expected = w.detach() / sigma
        torch.testing.assert_close(direction, expected / expected.norm())


@given(seed=st.integers(0, 2**32), shuffled=st.booleans())
@settings(max_examples=10, deadline=None)
def test_they_have_unit_norm_and_depend_on_the_draws_alone(seed: int, shuffled: bool) -> None:
    first, second = (
        fitted_directions(*states(), count=4, rng=np.random.default_rng(seed), steps=5, shuffled=shuffled)
        for _ in range(2)
    )
    assert torch.equal(first, second)
    torch.testing.assert_close(first.norm(dim=1), torch.ones(4, dtype=torch.float64))


def test_the_level_is_found_and_shuffled_labels_do_not_find_it() -> None:
    weak, strong = states(shift=2.0)
    rng = np.random.default_rng(2)
    assert (fitted_directions(weak, strong, count=32, rng=rng)[:, 1] > 0).all()
    shuffled = fitted_directions(weak, strong, count=32, rng=rng, shuffled=True)[:, 1]
    assert 8 <= int((shuffled > 0).sum()) <= 24


def test_a_feature_without_spread_is_no_feature() -> None:
    weak, strong = (torch.cat([part, torch.full((40, 1), 7.0)], dim=1) for part in states())
    for found in (
        fitted_directions(weak, strong, count=3, rng=np.random.default_rng(0), steps=10),
        random_directions(weak, strong, count=3, rng=np.random.default_rng(0)),
    ):
        assert (found[:, -1] == 0).all()
        assert found.isfinite().all()


def test_states_that_are_all_alike_are_refused() -> None:
    with pytest.raises(DataError, match="all alike"):
        fitted_directions(torch.ones(5, 3), torch.ones(5, 3), count=2, rng=np.random.default_rng(0))
