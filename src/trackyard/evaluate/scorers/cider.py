"""CIDEr of a corpus of captions, as the common implementation defines it, with whole arrays in place of dictionaries.

Every n-gram of the corpus gets a number, a sentence becomes rows (sentence, n-gram, count), and all sums are counted by
number. N: images, S: sentences (hypotheses first, then references), G: distinct n-grams, E: rows of one n.
Source: nine-datasets spec section 4; Vedantam et al., CIDEr, CVPR 2015 (arXiv:1411.5726), variant D with n up to 4.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from trackyard.errors import DataError

Words = Sequence[str]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

LONGEST = 4
SIGMA = 6.0
"""Standard deviation, in bigrams, of the penalty on a difference in length."""
TOP = 10.0
"""What a hypothesis equal to its only reference reaches."""


def cider(hypotheses: Sequence[Words], references: Sequence[Sequence[Words]]) -> Floats:
    """The raw value of each image, in 0..10; their mean is the corpus value, and published figures are 100 times that.

    hypotheses: the words of one caption per image. references: of one or more per image, in the same order. A value
    means nothing outside its corpus, whose references decide what a word is worth: of one image alone it is 0.
    """
    _require(hypotheses, references)
    images = len(hypotheses)
    corpus = _Corpus.of([*hypotheses, *chain.from_iterable(references)])
    copies = np.array([len(given) for given in references], dtype=np.int64)
    image_S = np.concatenate([np.arange(images), np.repeat(np.arange(images), copies)])
    bigrams_S = np.maximum(corpus.lengths - 1, 0)
    difference = (bigrams_S[image_S[images:]] - bigrams_S[images:]).astype(np.float64)
    penalty = np.exp(-(difference**2) / (2 * SIGMA**2))
    total = np.zeros(len(penalty))
    for rows in corpus.rows():
        total += _likeness(rows, image_S, images)
    of_image = np.bincount(image_S[images:], weights=total * penalty, minlength=images)
    return TOP * of_image / (LONGEST * copies)


@dataclass(frozen=True, slots=True)
class _Rows:
    """Which n-grams of one n a sentence has. sentence, gram, count [E], in the order of (sentence, gram)."""

    sentence: Ints
    gram: Ints
    count: Ints
    kinds: int


@dataclass(frozen=True, slots=True)
class _Corpus:
    """All sentences end to end. words: number of the word at each place; sentence: which one it is of; lengths [S]."""

    words: Ints
    sentence: Ints
    lengths: Ints

    @classmethod
    def of(cls, sentences: Sequence[Words]) -> _Corpus:
        numbers: dict[str, int] = {}
        lengths = np.array([len(words) for words in sentences], dtype=np.int64)
        for word in chain.from_iterable(sentences):
            numbers.setdefault(word, len(numbers))
        flat = map(numbers.__getitem__, chain.from_iterable(sentences))
        words = np.fromiter(flat, dtype=np.int64, count=int(lengths.sum()))
        return cls(words, np.repeat(np.arange(len(sentences)), lengths), lengths)

    def rows(self) -> Iterator[_Rows]:
        """Rows of n = 1, 2, 3, 4. An n-gram is the (n-1)-gram that begins at its place, and the word that follows."""
        vocabulary = int(self.words.max(initial=0)) + 1
        place, gram, kinds = np.arange(len(self.words)), self.words, vocabulary
        yield _counted(self.sentence, gram, kinds)
        for n in range(2, LONGEST + 1):
            last = place + n - 1
            fits = last < len(self.words)
            fits[fits] = self.sentence[place[fits]] == self.sentence[last[fits]]
            place, last = place[fits], last[fits]
            distinct, gram = np.unique(gram[fits] * vocabulary + self.words[last], return_inverse=True)
            kinds = len(distinct)
            yield _counted(self.sentence[place], gram, kinds)


def _counted(sentence: Ints, gram: Ints, kinds: int) -> _Rows:
    """sentence, gram: of every occurrence."""
    key, count = np.unique(sentence * max(kinds, 1) + gram, return_counts=True)
    return _Rows(key // max(kinds, 1), key % max(kinds, 1), count, kinds)


def _likeness(rows: _Rows, image_S: Ints, images: int) -> Floats:
    """Of each reference to the hypothesis of its image, for one n: the clipped cosine of their tf-idf weights."""
    sentences, width = len(image_S), max(rows.kinds, 1)
    key_E = image_S[rows.sentence] * width + rows.gram
    of_hypothesis = rows.sentence < images
    held = np.sort(key_E[~of_hypothesis])  # np.unique makes a hash table of them, five times as slow
    once = np.append(True, held[1:] != held[:-1])[: len(held)]  # for every image whose references hold it
    frequency = np.bincount(held[once] % width, minlength=rows.kinds)
    idf = np.log(float(images)) - np.log(np.maximum(frequency, 1))
    weight_E = rows.count * idf[rows.gram]
    norm_S = np.sqrt(np.bincount(rows.sentence, weights=weight_E**2, minlength=sentences))
    own_key, own_weight = key_E[of_hypothesis], weight_E[of_hypothesis]  # sorted: rows are in that order
    key, weight = key_E[~of_hypothesis], weight_E[~of_hypothesis]
    at = np.minimum(np.searchsorted(own_key, key), max(len(own_key) - 1, 0))
    shared = own_key[at] == key if len(own_key) else np.zeros(len(key), dtype=bool)
    product = np.minimum(own_weight[at[shared]], weight[shared]) * weight[shared]
    summed = np.bincount(rows.sentence[~of_hypothesis][shared], weights=product, minlength=sentences)[images:]
    norms = norm_S[image_S[images:]] * norm_S[images:]
    likeness: Floats = np.divide(summed, norms, out=np.zeros(len(summed)), where=norms != 0)
    return likeness


def _require(hypotheses: Sequence[Words], references: Sequence[Sequence[Words]]) -> None:
    bare = sum(not given for given in references)
    if hypotheses and len(hypotheses) == len(references) and not bare:
        return
    raise DataError(
        what=f"CIDEr of {len(hypotheses)} captions and {len(references)} lists of references, {bare} of them empty",
        why="every image of the corpus is compared with references of its own, and decides what words are worth",
        fix="score all images of a split at once, each with one caption and all of its references",
    )
