from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from trackyard.errors import DataError
from trackyard.evaluate.intervals import cluster_sums, clustered_mean, generator, metric_value, wilson
from trackyard.evaluate.statistics import bootstrap_mean


@pytest.mark.parametrize(
    ("successes", "samples", "share", "low", "high"),
    [
        (655, 1_024, 0.6396, 0.6098, 0.6685),
        (576, 900, 0.64, 0.6081, 0.6707),
        (8, 10, 0.8, 0.4902, 0.9433),
        (0, 10, 0.0, 0.0, 0.2775),
    ],
)
def test_wilson_of_the_spec(successes: int, samples: int, share: float, low: float, high: float) -> None:
    found = wilson(successes, samples)
    assert (round(successes / samples, 4), round(found.low, 4), round(found.high, 4)) == (share, low, high)


@given(st.integers(1, 5_000), st.data())
def test_wilson_is_scipys(samples: int, data: st.DataObject) -> None:
    successes = data.draw(st.integers(0, samples))
    found, expected = wilson(successes, samples), binomtest(successes, samples).proportion_ci(method="wilson")
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert 0 <= found.low <= successes / samples <= found.high <= 1


@pytest.mark.parametrize(("successes", "samples"), [(0, 0), (2, 1), (-1, 3)])
def test_a_share_of_nothing_is_refused(successes: int, samples: int) -> None:
    with pytest.raises(DataError, match=f"{successes} right answers of {samples}"):
        wilson(successes, samples)


def test_standard_error_of_the_spec() -> None:
    # 1.5 points at 1,024 samples, 1.6 at 900, for a share of .64.
    for samples, error in ((1_024, 0.015), (900, 0.016)):
        found = wilson(round(0.64 * samples), samples)
        assert (found.high - found.low) / 2 / 1.96 == pytest.approx(error, abs=5e-4)


def test_samples_that_stand_alone_are_clusters_of_one() -> None:
    values = np.random.default_rng(0).random(300)
    expected = bootstrap_mean(values, rng=generator(0, "a"), resamples=2_000)
    assert clustered_mean(values, None, rng=generator(0, "a")) == expected
    assert clustered_mean(values, list(range(300)), rng=generator(0, "a")) == expected


@given(st.lists(st.tuples(st.floats(0, 1), st.sampled_from("abcdef")), min_size=1, max_size=60))
def test_cluster_sums_by_hand(samples: list[tuple[float, str]]) -> None:
    by_hand: dict[str, list[float]] = defaultdict(list)
    for value, label in samples:
        by_hand[label].append(value)
    sums, sizes = cluster_sums(np.array([value for value, _ in samples]), [label for _, label in samples])
    assert sums == pytest.approx([sum(values) for values in by_hand.values()])
    assert sizes.tolist() == [len(values) for values in by_hand.values()]


def test_questions_about_one_image_widen_the_interval_as_much_as_they_agree() -> None:
    rng = np.random.default_rng(1)
    images, each = 400, 8
    of_image = rng.random(images).repeat(each)
    clusters = np.arange(images).repeat(each).tolist()
    wide = clustered_mean(of_image, clusters, rng=generator(0, "wide"))
    narrow = clustered_mean(of_image, None, rng=generator(0, "narrow"))
    # Eight equal answers tell as much as one: the interval is sqrt(8) as wide.
    assert (wide.high - wide.low) / (narrow.high - narrow.low) == pytest.approx(np.sqrt(each), rel=0.1)


def test_intervals_hold_the_truth_nineteen_times_in_twenty() -> None:
    rng = np.random.default_rng(2)
    held = 0
    for trial in range(200):
        values = np.clip(rng.normal(0.5, 0.1, 60).repeat(3) + rng.normal(0, 0.05, 180), 0, 1)
        found = clustered_mean(values, np.arange(60).repeat(3).tolist(), rng=generator(trial, "x"), resamples=300)
        held += found.low <= 0.5 <= found.high
    assert 180 <= held <= 199


def test_the_same_seed_and_name_give_the_same_interval() -> None:
    values = np.random.default_rng(3).random(50)
    one, again, other = (clustered_mean(values, None, rng=generator(seed, "a")) for seed in (0, 0, 1))
    assert one == again != other
    assert one != clustered_mean(values, None, rng=generator(0, "b"))


def test_the_method_follows_what_is_measured() -> None:
    rights = [1.0, 0.0, 1.0, 1.0]
    alone = metric_value(rights, None, binary=True, rng=generator(0))
    assert (alone.method, alone.value) == ("wilson", 0.75)
    assert alone == metric_value(rights, ["a", "b", "c", "d"], binary=True, rng=generator(0))
    shared = metric_value(rights, ["a", "a", "c", "d"], binary=True, rng=generator(0))
    drawn = clustered_mean(rights, ["a", "a", "c", "d"], rng=generator(0))
    assert (shared.method, shared.lo, shared.hi) == ("clustered bootstrap", drawn.low, drawn.high)
    assert (shared.lo, shared.hi) != (alone.lo, alone.hi)
    graded = metric_value([0.3, 0.9, 1.0], None, binary=False, rng=generator(0))
    assert graded.method == "bootstrap"
    assert graded.lo <= graded.value <= graded.hi


def test_contributions_to_a_corpus_may_be_above_1() -> None:
    found = metric_value([6.1875, 5.82696], None, binary=False, rng=generator(0))
    assert found.value == pytest.approx(6.00723)
    assert (found.lo, found.hi) == (5.82696, 6.1875)


def test_a_share_of_what_is_neither_right_nor_wrong_is_refused() -> None:
    with pytest.raises(DataError, match=r"a score of 0\.3"):
        metric_value([1.0, 0.3], None, binary=True, rng=generator(0))


def test_labels_that_are_not_of_the_samples_are_refused() -> None:
    with pytest.raises(DataError, match="3 values of samples in 2"):
        clustered_mean([0.1, 0.2, 0.3], ["a", "b"], rng=generator(0))
    with pytest.raises(DataError, match="1 documents"):
        clustered_mean([0.1, 0.2, 0.3], ["a", "a", "a"], rng=generator(0))
