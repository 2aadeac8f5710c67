"""Two configurations on the same questions: whether their difference is more than the draw of the questions.

Source: nine-datasets spec section 9 (paired bootstrap on common ids, clustered where several questions share an image).
"""

from __future__ import annotations

from trackyard.evaluate.intervals import RESAMPLES, generator
from trackyard.evaluate.model_comparison import Difference, Scores, difference
from trackyard.recipes.nine.report.gathering import Gathered


class Pairs:
    """Differences between configurations of a data set, each computed once."""

    def __init__(self, gathered: Gathered, *, resamples: int = RESAMPLES) -> None:
        self._gathered = gathered
        self._resamples = resamples
        self._of = ""
        self._scores: dict[str, Scores] = {}
        self._found: dict[tuple[str, str, str], Difference] = {}

    def difference(self, dataset: str, first: str, second: str) -> Difference:
        """By keys. DataError where the two were not scored on the same questions, or on fewer than two."""
        place = (dataset, first, second)
        if place not in self._found:
            # By what is compared: an interval does not depend on what else is in the report.
            rng = generator(0, "pair", *place)
            scores = self._read(dataset, first), self._read(dataset, second)
            self._found[place] = difference(*scores, rng=rng, resamples=self._resamples)
        return self._found[place]

    def tied(self, dataset: str, first: str, second: str) -> bool:
        """Whether nothing shows that they differ."""
        return self.difference(dataset, first, second).tie

    def tied_with(self, dataset: str, best: str) -> list[str]:
        """Keys of all others that nothing shows to differ from `best`."""
        others = (key for key in self._gathered.results[dataset] if key != best)
        return [key for key in others if self.tied(dataset, best, key)]

    def _read(self, dataset: str, key: str) -> Scores:
        """Of one data set at a time: all nine of a full sweep are some gigabytes."""
        if dataset != self._of:
            self._of, self._scores = dataset, {}
        if key not in self._scores:
            self._scores[key] = self._gathered.scores(dataset, key)
        return self._scores[key]
