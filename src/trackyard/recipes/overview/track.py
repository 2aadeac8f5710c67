"""What a track brings to the report: its section, the numbers of the summary, its models, and what its stages cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from trackyard.recipes.overview.blocks import Section


@dataclass(frozen=True, kw_only=True, slots=True)
class Headline:
    """A number of the summary. interval: 95 %, or a range that says of what it is; "not measured" where there is none.
    against: what it is to be held against. says: what it allows to say."""

    what: str
    value: str
    interval: str
    against: str
    says: str


def verdict(words: str, missing: Sequence[str]) -> str:
    """What a claim says, short. missing: what it lacks."""
    if not missing:
        return words
    return f"no claim: {'one condition is' if len(missing) == 1 else f'{len(missing)} conditions are'} not met"


@dataclass(frozen=True, kw_only=True, slots=True)
class Model:
    """An export. name: as the report calls it. drawn: whether its chain is drawn, or only told in the table."""

    name: str
    directory: Path
    drawn: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class StageTime:
    """Results of a stage that is no training run. seconds: over all of them, as their headers say."""

    stage: str
    results: int
    seconds: float
    device: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Origin:
    """By what a track was measured. commits, images: of the code and the containers. times: of stages that train no
    run."""

    commits: frozenset[str]
    images: frozenset[str]
    times: tuple[StageTime, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class TrackReport:
    """made_data: what of it is made by the project itself, "" where nothing is.

    metrics: every metrics.json of the track, with the label of what it is headed by. tokens: trained on, in words, by
    the stage of the runs.
    """

    track: str
    section: Section
    headlines: tuple[Headline, ...]
    made_data: str
    origin: Origin
    models: tuple[Model, ...]
    metrics: Mapping[Path, str]
    tokens: Mapping[str, str] = field(default_factory=dict)
