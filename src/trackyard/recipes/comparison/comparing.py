"""A comparison with all that is known: what differs, commits between, what came out, tests in pairs, verdicts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from trackyard.recipes.comparison.pairing import Pairing, pair_up
from trackyard.recipes.comparison.stored import stored_samples
from trackyard.recipes.comparison.verdicts import Verdict, verdicts
from trackyard.record.comparing.code_history import CodeHistory, code_history
from trackyard.record.comparing.comparison import Comparison, compare_runs
from trackyard.record.comparing.summary import RunSummary
from trackyard.runner import Runner


@dataclass(frozen=True, kw_only=True, slots=True)
class Findings:
    """history: from the code of the first run to each other code. lacks: by run, samples that are not there."""

    comparison: Comparison
    history: tuple[CodeHistory, ...]
    pairing: Pairing
    lacks: tuple[tuple[str, ...], ...]
    verdicts: tuple[Verdict, ...]


def find(runs: Sequence[RunSummary], root: Path, runner: Runner) -> Findings:
    """Compare runs of the repository `root`. ConfigError for fewer than two, DataError for altered results."""
    comparison = compare_runs(runs)
    commits = list(dict.fromkeys(str(run.spec["code"]["commit"]) for run in runs))
    samples = stored_samples(runs, root)
    pairing = pair_up(samples)
    return Findings(
        comparison=comparison,
        history=tuple(code_history(root, commits[0], other, runner) for other in commits[1:]),
        pairing=pairing,
        lacks=tuple(one.lacks for one in samples),
        verdicts=verdicts(comparison, pairing),
    )
