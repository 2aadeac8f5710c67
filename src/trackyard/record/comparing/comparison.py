"""Runs beside each other: what differs between them, and what they came to. Numbers only: what they prove is said by
`recipes.comparison`, which has the samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from trackyard.errors import ConfigError
from trackyard.record.comparing.differences import Differences, differences
from trackyard.record.comparing.outcomes import Cost, Outcome, costs, only_in_some, outcomes
from trackyard.record.comparing.summary import RunSummary


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """runs: as given; the first is what the others are compared with. lone: metrics that only some of them have."""

    runs: tuple[RunSummary, ...]
    differences: Differences
    outcomes: tuple[Outcome, ...]
    costs: tuple[Cost, ...]
    lone: tuple[str, ...]

    @property
    def tracks(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(run.track for run in self.runs))


def compare_runs(runs: Sequence[RunSummary]) -> Comparison:
    """ConfigError for fewer than two runs, or one that is given twice."""
    ids = [run.run_id for run in runs]
    if len(set(ids)) < 2 or len(set(ids)) < len(ids):
        raise ConfigError(
            what=f"a comparison of {', '.join(ids) or 'no run'}",
            why="a comparison is of two runs at least, each given once",
            fix="trackyard compare <run> <other run>   (trackyard compare --track <track> lists them)",
        )
    return Comparison(
        runs=tuple(runs),
        differences=differences(runs),
        outcomes=outcomes(runs),
        costs=costs(runs),
        lone=only_in_some(runs),
    )
