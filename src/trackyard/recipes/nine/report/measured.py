"""What a report is made of: every configuration on every data set. Source: nine-datasets spec sections 7 to 9."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trackyard.digest import short
from trackyard.evaluate.completeness import Tally
from trackyard.evaluate.configuration_results import RealisedVisual
from trackyard.evaluate.intervals import MetricValue
from trackyard.evaluate.latency.statistics import LatencySummary
from trackyard.evaluate.sweep.configuration import Configuration

if TYPE_CHECKING:
    from trackyard.evaluate.latency.circumstances import Circumstances


@dataclass(frozen=True, kw_only=True, slots=True)
class Measurement:
    """One configuration on one data set: its accuracy, and its times.

    metric: by name. n_out: mean tokens of an answer whose length nobody forced. cap_rate, unparsed_rate: shares of
    answers. tally: of the questions that were to be answered.
    """

    key: str
    configuration: Configuration
    dataset: str
    split: str
    metric: Mapping[str, MetricValue]
    tally: Tally
    realised_visual: RealisedVisual
    n_out: float
    cap_rate: float
    unparsed_rate: float
    times: LatencySummary

    @property
    def name(self) -> str:
        """The key, short enough for people."""
        return short(self.key)

    @property
    def knobs(self) -> dict[str, int]:
        """Levels of the knobs that the model has; of blocks, how many run."""
        found = self.configuration
        levels = {"visual": found.visual, "experts": found.experts, "blocks": found.depth}
        return {name: level for name, level in levels.items() if level is not None}

    @property
    def words(self) -> str:
        """For people: `visual 2, experts 4, blocks 6`."""
        return ", ".join(f"{name} {level}" for name, level in self.knobs.items()) or "no knobs"


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskFacts:
    """metric: the one that is plotted. chance: of guessing, None where nobody can say."""

    name: str
    title: str
    metric: str
    chance: float | None = None

    @property
    def heading(self) -> str:
        return self.title or self.name

    @property
    def metric_words(self) -> str:
        """CIDEr is published times 100."""
        return f"{self.metric} (published: x 100)" if self.metric.startswith("cider") else self.metric


@dataclass(frozen=True, kw_only=True, slots=True)
class SweepFacts:
    """What holds for every configuration.

    model: as people name it; digest: of its files. keys: of the sweep, in its order. ending: of answers that were
    timed, natural or forced. machines: that timed them. busy: what else ran there meanwhile, in words. different:
    answers that were another when they were timed alone. most_capped: share of answers that may end at the cap.
    """

    model: str
    digest: str
    precision: str
    strategy: str
    keys: tuple[str, ...]
    ending: str
    machines: tuple[Circumstances, ...]
    busy: tuple[str, ...] = ()
    different: int = 0
    most_capped: float = 0.01

    @property
    def on_cpu(self) -> bool:
        return any(machine.kind == "cpu" for machine in self.machines)
