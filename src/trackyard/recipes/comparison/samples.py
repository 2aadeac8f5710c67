"""What is stored of a run's single samples, in one form for all tracks: tests in pairs are made on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from trackyard.evaluate.model_comparison import Scores


@dataclass(frozen=True, kw_only=True, slots=True)
class Scored:
    """What each sample of a metric is worth; their mean is the metric. asked: digest of what decides the samples."""

    asked: str
    scores: Scores


@dataclass(frozen=True, kw_only=True, slots=True)
class Share:
    """Right answers of so many, where only their number was kept. asked: digest of what decides the questions."""

    asked: str
    right: int
    answers: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Samples:
    """Of one run. scores, shares: by metric. lacks: why there is nothing more, each in words.

    Runs are compared by a metric only where both were asked the same: ids of samples may be alike where texts are not.
    """

    scores: Mapping[str, Scored] = field(default_factory=dict)
    shares: Mapping[str, Share] = field(default_factory=dict)
    lacks: tuple[str, ...] = ()
