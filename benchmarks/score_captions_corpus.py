"""A made-up corpus of captions, as long and as alike as those of COCO: five references per image and one hypothesis.

Standard library and numpy only, because peers draw it as well.
"""

from __future__ import annotations

import numpy as np

IMAGES, REFERENCES = 40_504, 5
VOCABULARY = 12_000
SHORTEST, LONGEST = 8, 15
CHANGED = 0.45
"""Share of the words of an image's gist that a caption of it says otherwise."""
SEED = 0


def corpus(images: int = IMAGES, seed: int = SEED) -> tuple[list[str], list[list[str]]]:
    """Hypotheses and references as tokenised text. Words are drawn by rank, the n-th most frequent as 1/n."""
    random = np.random.default_rng(seed)
    chance = 1 / np.arange(1, VOCABULARY + 1)
    names = np.array([f"w{rank}" for rank in range(VOCABULARY)], dtype=object)
    each = REFERENCES + 1
    gist = random.choice(VOCABULARY, size=(images, 1, LONGEST), p=chance / chance.sum())
    other = random.choice(VOCABULARY, size=(images, each, LONGEST), p=chance / chance.sum())
    words = np.where(random.random((images, each, LONGEST)) < CHANGED, other, gist)
    lengths = random.integers(SHORTEST, LONGEST, size=(images, each), endpoint=True)
    texts = [[" ".join(names[words[image, at, : lengths[image, at]]]) for at in range(each)] for image in range(images)]
    return [given[0] for given in texts], [given[1:] for given in texts]
