"""VQA accuracy: the spec's values, the official scores, and what any metric owes."""

from __future__ import annotations

import random
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackyard.errors import DataError
from trackyard.evaluate.scorers.vqa import leave_one_out, normalised, vqa, vqa_scores, vqa_simple
from trackyard.schema import read_document

OFFICIAL = Path(__file__).parent / "official" / "vqa.json"


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        # The examples of the spec.
        ("The Red Car.", "red car"),
        ("1,000", "1000"),
        ("3.5", "3.5"),
        ("3.", "3"),
        ("t-shirt", "t shirt"),
        ("yes, it is", "yes it is"),
        ("None", "0"),
        ("10:30", "10:30"),
        ("A", ""),
        # Every step on its own.
        ("a\nb\tc ", "b c"),
        ("dont", "don't"),
        ("Ten", "10"),
        ("eleven", "eleven"),
        ("left -right-hand", "left righthand"),
        ("1,000 or-so", "1000 orso"),
        ("12,a", "12"),
        ("...", ""),
        ("a .5", ".5"),
        ("somebody'd", "somebodyd"),
        ("Shouldnt've", "shouldn't've"),
        ("", ""),
    ],
)
def test_normal_form(text: str, normal: str) -> None:
    assert normalised(text) == normal


@pytest.mark.parametrize("matching", range(11))
def test_ten_references(matching: int) -> None:
    references = ["a cat"] * matching + ["dog"] * (10 - matching)
    formula = (matching * min((matching - 1) / 3, 1) + (10 - matching) * min(matching / 3, 1)) / 10
    assert vqa("Cat.", references) == pytest.approx(formula if matching else 0, abs=1e-12)
    assert vqa("Cat.", references) == pytest.approx([0, 0.3, 0.6, 0.9, 1][min(matching, 4)], abs=1e-12)
    assert vqa_simple("Cat.", references) == pytest.approx([0, 1 / 3, 2 / 3, 1][min(matching, 3)], abs=1e-12)


@given(st.integers(1, 30).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_any_number_of_references_is_the_mean_over_those_left_out(pair: tuple[int, int]) -> None:
    matching, number = pair
    equal = [True] * matching + [False] * (number - matching)
    mean = np.mean([min((sum(equal) - one) / 3, 1) for one in equal])
    assert leave_one_out(matching, number) == pytest.approx(mean, abs=1e-12)


def test_the_official_scores() -> None:
    sets = read_document(OFFICIAL, "trackyard-official-vqa/1", fix="python -m benchmarks.agreement_vqa")["sets"]
    ours = vqa_scores([one["prediction"] for one in sets], [one["references"] for one in sets])
    alike = np.array([one["cause"] == "equal" for one in sets])
    official = np.array([one["official"] for one in sets])
    assert len(sets) == 200
    assert alike.sum() > 180
    np.testing.assert_allclose(ours[alike], official[alike], atol=1e-9)
    np.testing.assert_allclose(ours, [one["ours"] for one in sets], atol=1e-12)
    # The control: the simple form is another metric, and the sets show it.
    simple = np.array([vqa_simple(one["prediction"], one["references"]) for one in sets])
    assert (np.abs(simple - official)[alike] > 1e-9).sum() > 20


def test_differences_from_the_official_scores_are_those_that_are_meant() -> None:
    # The official code compares texts as they are where all references agree, and gives 0 here.
    assert vqa("Yes", ["yes"] * 10) == 1
    # It lets nothing match nothing, and gives 1 here.
    assert vqa("the", ["a"] * 5 + ["an"] * 5) == 0


def test_sanity_of_gold_empty_and_shuffled_answers() -> None:
    rng = random.Random(0)
    references = [[f"thing {number}"] * rng.randint(4, 10) for number in range(500)]
    gold = [accepted[0] for accepted in references]
    shuffled = rng.sample(gold, len(gold))
    assert vqa_scores(gold, references).min() == 1
    assert vqa_scores([""] * 500, references).max() == 0
    assert vqa_scores(shuffled, references).mean() < 0.02
    assert [vqa_simple(*pair) for pair in zip(gold, references, strict=True)] == [1] * 500


@given(st.text(max_size=30), st.lists(st.text(max_size=30), min_size=1, max_size=12), st.randoms())
def test_scores_lie_between_0_and_1_and_know_no_order(text: str, references: list[str], rng: random.Random) -> None:
    moved = rng.sample(references, len(references))
    assert 0 <= vqa(text, references) <= 1
    assert vqa(text, references) == vqa(text, moved)
    assert vqa(text, references) <= vqa_simple(text, references)


def test_what_cannot_be_scored_is_refused() -> None:
    with pytest.raises(DataError) as refused:
        vqa("cat", [])
    assert "no reference for the answer 'cat'" in str(refused.value)
    with pytest.raises(ValueError, match="shorter"):
        vqa_scores(["a", "b"], [["a"]])


def test_the_batch_form_is_fast() -> None:
    """A tenth of VQA v2's validation answers; all of them take ten times that, and shall take less than 10 s."""
    references = [[f"thing {number % 3000}"] * 7 + ["A  dog,", "no-one", f"{number}"] for number in range(21_435)]
    began = time.process_time()
    scores = vqa_scores([f"the thing {number % 3000}." for number in range(21_435)], references)
    assert scores.mean() == pytest.approx(1)
    assert time.process_time() - began < 1
