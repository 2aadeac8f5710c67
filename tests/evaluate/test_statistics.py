import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from trackyard.errors import DataError
from trackyard.evaluate import statistics
from trackyard.evaluate.statistics import (
    bootstrap_mean,
    bootstrap_ratio,
    discordant,
    holm,
    mcnemar,
    paired_difference,
)


def rng(key: int = 0) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=key))


@pytest.mark.parametrize(
    ("b", "c", "expected"), [(0, 10, 0.001953125), (10, 0, 0.001953125), (5, 5, 1.0), (0, 0, 1.0), (1, 0, 1.0)]
)
def test_mcnemar_of_the_spec(b: int, c: int, expected: float) -> None:
    assert mcnemar(b, c) == expected


@given(st.integers(0, 300), st.integers(0, 300))
def test_mcnemar_is_the_exact_binomial_test(b: int, c: int) -> None:
    if b + c:
        assert mcnemar(b, c) == pytest.approx(binomtest(b, b + c).pvalue, rel=1e-9)
    assert mcnemar(b, c) == mcnemar(c, b)


def test_mcnemar_of_thousands_neither_overflows_nor_vanishes() -> None:
    assert mcnemar(4_900, 5_100) == pytest.approx(binomtest(4_900, 10_000).pvalue, rel=1e-9)
    assert 0 < mcnemar(0, 1_000) < 1e-300


def test_holm_by_hand() -> None:
    # Sorted 0.01, 0.02, 0.03, 0.04: times 4, 3, 2, 1 and never falling.
    found = holm({"a": 0.04, "b": 0.01, "c": 0.03, "d": 0.02})
    assert found == pytest.approx({"a": 0.06, "b": 0.04, "c": 0.06, "d": 0.06})
    assert list(found) == ["a", "b", "c", "d"]
    assert holm({"a": 0.9, "b": 0.8}) == {"a": 1.0, "b": 1.0}


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.floats(0.001, 0.2))
def test_holm_rejects_what_the_step_down_procedure_rejects(values: list[float], alpha: float) -> None:
    adjusted = holm(dict(enumerate(values)))
    rejected, left = set(), len(values)
    for key in sorted(adjusted, key=values.__getitem__):
        if values[key] * left > alpha:
            break
        rejected.add(key)
        left -= 1
    assert {key for key, p in adjusted.items() if p <= alpha} == rejected


def test_the_bootstrap_is_that_of_a_plain_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    nll, tokens = rng(1).gamma(3, 50, 40), rng(2).integers(5, 80, 40)
    draws = rng().integers(40, size=(2_000, 40), dtype=np.int32)
    plain = [nll[row].sum() / tokens[row].sum() for row in draws]
    whole = bootstrap_ratio(nll, tokens, rng=rng(), resamples=2_000)
    assert (whole.low, whole.high) == pytest.approx(tuple(np.quantile(plain, [0.025, 0.975])), rel=1e-12)
    # In pieces that fill no whole number of draws the generator gives the same numbers.
    monkeypatch.setattr(statistics, "AT_ONCE", 40 * 300)
    assert bootstrap_ratio(nll, tokens, rng=rng(), resamples=2_000) == whole


def test_the_interval_covers_the_truth_about_95_times_in_100() -> None:
    def covers(key: int) -> bool:
        found = bootstrap_mean(rng(key).normal(1.0, 2.0, 80), rng=rng(1_000 + key), resamples=400)
        return found.low <= 1.0 <= found.high

    assert 0.88 <= np.mean([covers(key) for key in range(200)]) <= 0.99


def test_pairs_see_what_the_spread_between_documents_hides() -> None:
    level = rng(3).normal(3.0, 1.0, 200)
    reference = {f"d{i}": float(value) for i, value in enumerate(level)}
    noise = rng(4).normal(scale=0.1, size=200)
    arm = {f"d{i}": float(value) for i, value in enumerate(level + 0.05 + noise)}
    found = paired_difference(arm, dict(reversed(reference.items())), rng=rng(), resamples=2_000)
    assert found.documents == 200
    assert found.ci95.low > 0
    assert found.ci95.low < found.mean < found.ci95.high
    assert found.detectable == pytest.approx(2.8016 * 0.1 / np.sqrt(200), rel=0.15)
    # Negative control: the intervals of the two arms by themselves overlap by far.
    alone = [bootstrap_mean(list(arm_.values()), rng=rng(), resamples=2_000) for arm_ in (reference, arm)]
    assert alone[0].high > alone[1].low


def test_an_arm_without_effect_has_no_difference() -> None:
    values = {f"d{i}": float(i) for i in range(10)}
    found = paired_difference(values, values, rng=rng(), resamples=100)
    assert (found.mean, found.ci95.low, found.ci95.high, found.detectable) == (0, 0, 0, 0)


def test_discordant_pairs() -> None:
    assert discordant({"a": True, "b": False, "c": True}, {"c": True, "b": True, "a": False}) == (1, 1)


def test_other_documents_are_no_pairs() -> None:
    with pytest.raises(DataError, match="2 documents are in one of the two arms only, b first"):
        paired_difference({"a": 1.0, "b": 2.0}, {"a": 1.0, "c": 2.0}, rng=rng())
    with pytest.raises(DataError, match="1 documents are in one"):
        discordant({"a": True, "b": True}, {"a": True})


@pytest.mark.parametrize("values", [[], [1.0]])
def test_one_document_has_no_interval(values: list[float]) -> None:
    with pytest.raises(DataError, match=f"over {len(values)} documents"):
        bootstrap_mean(values, rng=rng())


def test_a_document_without_weight_is_refused() -> None:
    with pytest.raises(DataError, match="weighs 0"):
        bootstrap_ratio([1, 2, 3], [4, 0, 6], rng=rng())


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_what_is_no_number_is_refused(wrong: float) -> None:
    with pytest.raises(DataError, match="number 1 of 2 is"):
        bootstrap_mean([0.0, wrong], rng=rng())
