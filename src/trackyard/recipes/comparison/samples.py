"""What is stored of a run's single samples, in one form for all tracks: tests in pairs are made on it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from trackyard.digest import digest_file
from trackyard.evaluate.model_comparison import Scores


@dataclass(frozen=True, kw_only=True, slots=True)
class Share:
    """Right answers of so many, where only their number was kept. asked: digest of what decides the questions."""

    asked: str
    right: int
    answers: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Samples:
    """Of one run. scores: by metric, what each sample is worth; their mean is the metric. shares: by metric.

    lacks: why there is nothing more, each in words.
    """

    scores: Mapping[str, Scores] = field(default_factory=dict)
    shares: Mapping[str, Share] = field(default_factory=dict)
    lacks: tuple[str, ...] = ()


def weights_of(folder: Path) -> frozenset[str]:
    """Digests of the weights that a run left in `folder`; empty where there are none on this machine."""
    return frozenset(digest_file(path) for path in folder.glob("*.safetensors"))


def newest_first(paths: Iterable[Path]) -> list[Path]:
    """By the time at which each was written."""
    return sorted(paths, key=lambda path: path.stat().st_mtime, reverse=True)
