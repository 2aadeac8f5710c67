"""CIDEr against the worked values of nine-datasets spec section 4 and against pycocoevalcap's scorer."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocoevalcap.cider.cider_scorer import CiderScorer

from trackyard.errors import DataError
from trackyard.evaluate.scorers.cider import Floats, cider

Corpus = tuple[list[list[str]], list[list[list[str]]]]


def corpus(*images: tuple[str, list[str]]) -> Corpus:
    return [own.split() for own, _ in images], [[text.split() for text in given] for _, given in images]


def official(hypotheses: list[list[str]], references: list[list[list[str]]]) -> Floats:
    scorer = CiderScorer()
    for own, others in zip(hypotheses, references, strict=True):
        scorer += (" ".join(own), [" ".join(words) for words in others])
    values: Floats = scorer.compute_score()[1]
    return values


FIRST = corpus(
    ("a cat sits on a mat", ["a cat sits on a mat", "a cat is on the mat"]),
    ("two dogs run in a park", ["two dogs run in a park", "dogs playing in the park"]),
)
SECOND = corpus(("a cat on a mat", ["a cat sits on a mat"]), ("a dog runs fast here", ["a dog runs fast"]))
PERFECT = corpus(("a cat sits here", ["a cat sits here"]), ("one dog runs fast", ["one dog runs fast"]))
SHORT = corpus(("a cat sits here", ["a cat sits here"]), ("a dog runs", ["a dog runs"]))
ALONE = corpus(("a cat sits on a mat", ["a cat sits on a mat"]))


@pytest.mark.parametrize(
    ("given", "mean", "values"),
    [
        (FIRST, 6.00723, [6.1875, 5.82696]),
        (SECOND, 6.26386, [4.50085, 8.02687]),
        (PERFECT, 10, [10, 10]),
        (SHORT, 8.75, [10, 7.5]),
        (ALONE, 0, [0]),
    ],
)
def test_worked_values(given: Corpus, mean: float, values: list[float]) -> None:
    found = cider(*given)
    assert found.mean() == pytest.approx(mean, abs=5e-6)
    assert found.tolist() == pytest.approx(values, abs=5e-6)


sentences = st.lists(st.sampled_from(["a", "b", "c", "d", "e", "f"]), max_size=9)
corpora = st.lists(st.tuples(sentences, st.lists(sentences, min_size=1, max_size=4)), min_size=1, max_size=6)


@settings(max_examples=60)
@given(corpora)
def test_equal_to_the_common_implementation(images: list[tuple[list[str], list[list[str]]]]) -> None:
    hypotheses, references = [own for own, _ in images], [given for _, given in images]
    found = cider(hypotheses, references)
    assert found.dtype == np.float64
    assert found.shape == (len(images),)
    assert ((found >= 0) & (found <= 10 + 1e-9)).all()
    if any(words for given in references for words in given):  # the common implementation fails without one
        assert np.abs(found - official(hypotheses, references)).max() < 1e-9
    else:
        assert not found.any()


def test_equal_on_captions_as_long_and_as_alike_as_real_ones() -> None:
    random = np.random.default_rng(0)
    rank = 1 / np.arange(1, 301)
    gist = random.choice(300, size=(120, 1, 14), p=rank / rank.sum())
    other = random.choice(300, size=(120, 6, 14), p=rank / rank.sum())
    words = np.where(random.random(other.shape) < 0.4, other, gist).astype(str)
    lengths = random.integers(6, 15, size=(120, 6))
    texts = [[words[i, j, : lengths[i, j]].tolist() for j in range(6)] for i in range(120)]
    hypotheses, references = [own for own, *_ in texts], [given for _, *given in texts]
    found = cider(hypotheses, references)
    assert np.abs(found - official(hypotheses, references)).max() < 1e-9
    assert found.mean() > 0.5
    turned = cider(hypotheses, references[1:] + references[:1])
    assert turned.mean() < 0.2 * found.mean(), "negative control: the references of other images"


def test_an_empty_caption_is_worth_nothing_and_changes_no_other() -> None:
    hypotheses, references = FIRST
    with_none = cider([[], hypotheses[1]], references)
    assert with_none.tolist() == [0, cider(hypotheses, references)[1]]


def test_a_value_depends_on_the_corpus() -> None:
    hypotheses, references = FIRST
    more = cider([*hypotheses, ["a", "bird"]], [*references, [["a", "bird", "flies"]]])
    assert abs(more[0] - cider(hypotheses, references)[0]) > 0.01


@pytest.mark.parametrize("given", [([], []), ([["a"]], []), ([["a"]], [[]])])
def test_refused_without_references_of_each_image(given: Corpus) -> None:
    with pytest.raises(DataError, match="CIDEr of"):
        cider(*given)
