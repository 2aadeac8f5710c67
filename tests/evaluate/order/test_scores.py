"""States [layers, sentences, width] of a toy with four sentences a chain, where the order is known."""

import numpy as np
import torch

from trackyard.evaluate.attacks.budgets import generator
from trackyard.evaluate.order import scores
from trackyard.evaluate.order.directions import random_directions
from trackyard.evaluate.order.scores import OrderProbe, in_order, probe_order

WIDTH, CHAINS = 12, 60
PAIRS = [(4 * chain + level, 4 * chain + level + 1) for chain in range(CHAINS) for level in range(3)]
FIT, SCORED = PAIRS[:120], PAIRS[120:]


def noise(seed: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(4 * CHAINS, WIDTH))).float()


def level() -> torch.Tensor:
    """0 to 3 along one feature [sentences, width]."""
    found = torch.zeros(4 * CHAINS, WIDTH)
    found[:, 3] = torch.arange(4 * CHAINS) % 4
    return found


def probe(*layers: torch.Tensor, seed: int = 42, directions: int = 16) -> OrderProbe:
    return probe_order(
        torch.stack(layers), fit=FIT, scored=SCORED, seed=seed, name="toy", directions=directions, steps=100,
        resamples=200,
    )  # fmt: skip


def test_a_known_order_is_found_in_the_layers_that_carry_it() -> None:
    found = probe(noise(0), 0.2 * noise(1) + 10 * level(), 0.2 * noise(2) - 10 * level(), 0.2 * noise(3) + 10 * level())
    assert 0.35 < found.fitted.score[0] < 0.65
    assert found.fitted.score[1] > 0.9
    assert found.fitted.score[2] < 0.1
    assert found.fitted.score[3] > 0.9
    for score, interval in zip(found.fitted.score, found.fitted.ci95, strict=True):
        assert interval.low <= score <= interval.high
    for control in (found.random_directions, found.shuffled_labels):
        assert control.ci95[-1].low <= 0.5 <= control.ci95[-1].high
        assert control.ci95[-1].high < found.fitted.ci95[-1].low


def holding(states: torch.Tensor, curves: tuple[str, ...], *, seeds: int = 40) -> float:
    """Share of intervals around the score of one layer that hold 0.5."""
    found = [getattr(probe(states, seed=seed, directions=24), name) for seed in range(seeds) for name in curves]
    return float(np.mean([curve.ci95[0].low <= 0.5 <= curve.ci95[0].high for curve in found]))


def test_random_features_have_no_order() -> None:
    """Nor have directions that are fitted on them, on chains that they have not seen: the split is what shows it."""
    assert holding(noise(1), ("random_directions", "shuffled_labels")) > 0.85
    unseen = [probe(noise(seed)).fitted.ci95[0] for seed in range(40)]
    assert np.mean([interval.low <= 0.5 <= interval.high for interval in unseen]) > 0.85
    seen = probe_order(
        noise(1)[None], fit=FIT, scored=FIT, seed=42, name="toy", directions=16, steps=100, resamples=200
    )
    assert seen.fitted.ci95[0].low > 0.5


def test_controls_hold_a_half_where_all_sentences_say_the_same_of_a_direction() -> None:
    """Chains differ by their topic, levels by one feature: a direction keeps all of the order or none."""
    topics = noise(0)[::4].repeat_interleave(4, dim=0)
    assert holding(topics + level(), ("random_directions", "shuffled_labels")) > 0.85


def test_an_interval_over_sentences_would_not_hold_it() -> None:
    """Negative control of what is drawn: over chains, the same scores look certain."""
    states = (noise(0)[::4].repeat_interleave(4, dim=0) + level())[None]
    held = 0
    for seed in range(20):
        drawn = random_directions(states[0, ::2], states[0, 1::2], count=24, rng=generator(seed, "toy"))
        curve = scores._curve(states, drawn, SCORED, drawn="chains", key=(seed, "toy"), resamples=200)
        held += curve.ci95[0].low <= 0.5 <= curve.ci95[0].high
    assert held <= 8


def test_sentences_that_are_not_told_apart_are_tied_and_controls_show_it() -> None:
    found = probe(torch.ones(4 * CHAINS, WIDTH), 0.2 * noise(0) + level())
    for curve in (found.fitted, found.random_directions, found.shuffled_labels):
        assert (curve.score[0], curve.tied[0]) == (1.0, 1.0)
        assert curve.tied[1] < 0.01


def test_the_tolerance_and_what_rounding_would_do_to_it() -> None:
    along = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    rises = torch.tensor([[0.9e-6, 0.0], [-0.9e-6, 5.0], [-1.1e-6, 5.0], [1.0, 0.0]], dtype=torch.float64)
    ordered, tied = in_order(rises, along)
    assert ordered[:, 0].tolist() == [True, True, False, True]
    assert tied[:, 0].tolist() == [True, True, False, False]


def test_draws_are_those_of_the_seed() -> None:
    layers = noise(0), 0.2 * noise(1) + level()
    assert probe(*layers) == probe(*layers)
    assert probe(*layers) != probe(*layers, seed=43)
