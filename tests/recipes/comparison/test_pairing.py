"""Every run against the first, on planted differences."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trackyard.evaluate.model_comparison import Scores, compare_models
from trackyard.evaluate.statistics import mcnemar
from trackyard.recipes.comparison import pairing
from trackyard.recipes.comparison.pairing import ALPHA, pair_up
from trackyard.recipes.comparison.samples import Samples, Scored, Share

NLL, ACCURACY, TOKENS = "test/nll", "eval/vsr/accuracy", "eval/vsr/visual_tokens"


def scores(values: list[float], *, asked: str = "q") -> Scored:
    return Scored(asked=asked, scores=Scores(values={f"d{number:03d}": value for number, value in enumerate(values)}))


def drawn(mean: float, *, samples: int = 60, seed: int = 0) -> Scored:
    return scores(list(np.random.default_rng(seed).normal(mean, 0.1, samples)))


def test_a_planted_difference_is_found_in_the_direction_of_the_metric() -> None:
    first = Samples(scores={NLL: drawn(2.0), ACCURACY: drawn(0.5), TOKENS: drawn(9.0)})
    other = Samples(scores={NLL: drawn(2.3, seed=1), ACCURACY: drawn(0.8, seed=1), TOKENS: drawn(8.0, seed=1)})
    found = {pair.metric: pair for pair in pair_up([first, other]).pairs}
    assert {name: pair.found for name, pair in found.items()} == {NLL: "worse", ACCURACY: "better", TOKENS: "lower"}
    gap = found[NLL].tested.difference
    assert gap.difference == pytest.approx(gap.first - gap.second)
    assert gap.ci95.low < 0.3 < gap.ci95.high
    back = {pair.metric: pair.found for pair in pair_up([other, first]).pairs}
    assert back == {NLL: "better", ACCURACY: "worse", TOKENS: "higher"}


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6))
def test_a_model_is_never_told_apart_from_itself(seed: int) -> None:
    one = Samples(scores={NLL: drawn(2.0, seed=seed, samples=12), ACCURACY: scores([0.0, 1.0, 1.0])})
    assert {pair.found for pair in pair_up([one, one]).pairs} == {"not told apart"}
    assert {pair.holm_p for pair in pair_up([one, one]).pairs} == {1.0}


def test_holm_is_over_all_runs_and_metrics_and_of_two_runs_it_is_that_of_compare_models() -> None:
    base = {NLL: drawn(2.0), ACCURACY: drawn(0.5)}
    other = {NLL: drawn(2.05, seed=1), ACCURACY: drawn(0.52, seed=1)}
    two = pair_up([Samples(scores=base), Samples(scores=other)]).pairs
    alone = {
        one.task: one
        for one in compare_models(
            {name: of.scores for name, of in other.items()}, {name: of.scores for name, of in base.items()}
        )
    }
    assert {pair.metric: pair.holm_p for pair in two} == {name: one.holm_p for name, one in alone.items()}
    three = pair_up([Samples(scores=base), Samples(scores=other), Samples(scores=other)]).pairs
    assert len(three) == 4
    assert all(pair.holm_p >= pair.tested.p for pair in three)
    least = min(three, key=lambda pair: pair.tested.p)
    assert least.holm_p == pytest.approx(min(1.0, 4 * least.tested.p))


def test_right_and_wrong_answers_are_mcnemars() -> None:
    first, other = scores([1.0] * 4 + [0.0] * 16), scores([1.0] * 14 + [0.0] * 6)
    (pair,) = pair_up([Samples(scores={ACCURACY: first}), Samples(scores={ACCURACY: other})]).pairs
    assert pair.tested.test == "mcnemar"
    assert pair.tested.p == mcnemar(10, 0) < ALPHA
    assert pair.found == "better"


def test_other_samples_are_noted_and_not_compared() -> None:
    one = Samples(scores={NLL: scores([1.0, 2.0]), ACCURACY: scores([1.0]), "bench/x": scores([1.0, 0.0])})
    other = Samples(scores={NLL: scores([1.0, 2.0, 3.0]), ACCURACY: scores([1.0])})
    found = pair_up([one, other])
    assert found.pairs == ()
    assert found.notes == (
        "run 2, eval/vsr/accuracy: 1 sample drawn on its own has no interval",
        "run 2, test/nll: other samples were measured (2 and 3): not compared in pairs",
    )


def test_the_same_ids_of_other_texts_are_noted_and_not_compared() -> None:
    first, other = Samples(scores={NLL: drawn(2.0)}), Samples(scores={NLL: replace(drawn(2.0, seed=1), asked="r")})
    found = pair_up([first, other])
    assert found.pairs == ()
    assert found.notes == ("run 2, test/nll: measured on other data, or in another way: not compared in pairs",)


def test_too_many_tests_for_any_to_show_something_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """The least p of sign flips is one in FLIPS + 1."""
    monkeypatch.setattr(pairing, "FLIPS", 39)
    first, other = (
        Samples(scores={name: scores([mean, mean + 0.5]) for name in (NLL, ACCURACY)}) for mean in (0.25, 0.5)
    )
    assert pair_up([first, Samples(scores={NLL: other.scores[NLL]})]).notes == ()
    assert pair_up([first, other]).notes == (
        "2 tests at once: by sign flips none can come below 0.05 after correction; name fewer runs",
    )


def test_counts_are_apart_only_if_their_intervals_are() -> None:
    def counted(right: int, answers: int = 100, asked: str = "q") -> Samples:
        return Samples(shares={"validation/counting": Share(asked=asked, right=right, answers=answers)})

    found = [pair_up([counted(50), counted(right)]).shares[0].found for right in (55, 62, 75, 20)]
    assert found == ["not told apart", "not told apart", "better", "worse"]
    for other in (counted(75, asked="r"), counted(75, answers=101)):
        unlike = pair_up([counted(50), other])
        assert unlike.shares == ()
        assert unlike.notes == ("run 2, validation/counting: other questions were asked",)
