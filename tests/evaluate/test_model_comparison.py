from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.evaluate.recorded import name
from trackyard.errors import DataError
from trackyard.evaluate.intervals import generator
from trackyard.evaluate.model_comparison import Scores, compare_models, difference, sign_flips
from trackyard.evaluate.statistics import holm, mcnemar, paired_difference


def binary(rate: float, seed: int, samples: int = 400) -> dict[str, float]:
    rights = np.random.default_rng(seed).random(samples) < rate
    return {name(number): float(right) for number, right in enumerate(rights)}


def test_a_difference_is_the_paired_one_of_the_studies() -> None:
    one, other = binary(0.7, 0), binary(0.5, 1)
    found = difference(Scores(values=one), Scores(values=other), rng=generator(0, "x"))
    expected = paired_difference(one, other, rng=generator(0, "x"), resamples=2_000)
    assert found.difference == pytest.approx(expected.mean)
    assert found.difference == pytest.approx(found.first - found.second)
    assert found.ci95 == expected.ci95
    assert not found.tie


def test_neighbours_are_ties() -> None:
    one = binary(0.64, 0)
    right, wrong = (sorted(each for each in one if one[each] == value) for value in (1.0, 0.0))
    other = one | {each: 1 - one[each] for each in (*right[:5], *wrong[:3])}
    assert difference(Scores(values=one), Scores(values=other), rng=generator(0)).tie
    assert difference(Scores(values=one), Scores(values=one), rng=generator(0)).tie


def test_answers_about_one_image_are_drawn_as_one() -> None:
    one, other = binary(0.75, 0), binary(0.65, 1)
    clusters = {each: each[-1] for each in one}
    alone = difference(Scores(values=one), Scores(values=other), rng=generator(0))
    together = difference(Scores(values=one, clusters=clusters), Scores(values=other), rng=generator(0))
    assert alone.difference == together.difference
    assert alone.ci95 != together.ci95


def test_every_task_is_one_of_a_family() -> None:
    first = {"mc": binary(0.8, 0), "vqa": {each: value * 0.9 for each, value in binary(0.6, 1).items()}}
    second = {"mc": binary(0.6, 2), "vqa": {each: value * 0.9 for each, value in binary(0.6, 3).items()}}
    clusters = {each: each for each in first["mc"]}
    found = compare_models(
        {task: Scores(values=values, clusters=clusters) for task, values in first.items()},
        {task: Scores(values=values) for task, values in second.items()},
    )
    assert [each.task for each in found] == ["mc", "vqa"]
    mc, vqa = found
    won = sum(first["mc"][each] > second["mc"][each] for each in clusters)
    lost = sum(first["mc"][each] < second["mc"][each] for each in clusters)
    assert (mc.test, mc.p) == ("mcnemar", mcnemar(won, lost))
    assert vqa.test == "sign flips"
    assert holm({"mc": mc.p, "vqa": vqa.p}) == {"mc": mc.holm_p, "vqa": vqa.holm_p}
    assert mc.holm_p < 0.05 < vqa.holm_p
    assert vqa.difference.tie


def test_right_and_wrong_about_one_image_are_no_case_for_mcnemar() -> None:
    one, other = binary(0.8, 0), binary(0.7, 1)
    clusters = {each: each[-2:] for each in one}
    (found,) = compare_models({"tally": Scores(values=one, clusters=clusters)}, {"tally": Scores(values=other)})
    assert found.test == "sign flips"


@settings(max_examples=30)
@given(st.lists(st.integers(-3, 3), min_size=1, max_size=9))
def test_flips_are_close_to_all_signs(gaps: list[int]) -> None:
    seen = abs(sum(gaps))
    every = [
        abs(sum(sign * gap for sign, gap in zip(signs, gaps, strict=True)))
        for signs in product((-1, 1), repeat=len(gaps))
    ]
    exact = sum(total >= seen for total in every) / len(every)
    assert sign_flips(np.array(gaps, dtype=np.float64), rng=generator(0, "flips"), flips=4_000) == pytest.approx(
        exact, abs=0.04
    )


def test_flips_of_right_and_wrong_are_mcnemars() -> None:
    gaps = np.array([1.0] * 30 + [-1.0] * 15 + [0.0] * 400)
    assert sign_flips(gaps, rng=generator(0)) == pytest.approx(mcnemar(30, 15), abs=0.01)


def test_no_difference_is_no_evidence_and_evidence_is_never_0() -> None:
    assert sign_flips(np.zeros(40), rng=generator(0)) == 1.0
    assert sign_flips(np.ones(4_000), rng=generator(0), flips=99) == 0.01


def test_no_difference_is_found_once_in_twenty() -> None:
    rng = np.random.default_rng(0)
    found = [sign_flips(rng.normal(size=40), rng=generator(trial), flips=400) for trial in range(300)]
    assert 0.02 <= np.mean(np.array(found) < 0.05) <= 0.09


def test_other_samples_or_tasks_are_refused() -> None:
    one = Scores(values=binary(0.5, 0))
    fewer = Scores(values={each: value for each, value in one.values.items() if each != name(7)})
    with pytest.raises(DataError, match="1 samples are of one of the two only: text_vqa:validation:7"):
        difference(one, fewer, rng=generator(0))
    with pytest.raises(DataError, match="none at all"):
        difference(Scores(values={}), Scores(values={}), rng=generator(0))
    with pytest.raises(DataError, match="one of the two models only: mmmu"):
        compare_models({"mc": one, "mmmu": one}, {"mc": one})
    with pytest.raises(DataError, match="none at all"):
        compare_models({}, {})
