"""Comparisons as tables of texts: for a terminal, and as Markdown of a report."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence

from trackyard.evaluate.statistics import Interval
from trackyard.recipes.comparison.comparing import Findings
from trackyard.recipes.comparison.pairing import Pairing
from trackyard.recipes.reporting.grid import Grid
from trackyard.record.comparing.comparison import Comparison
from trackyard.record.comparing.differences import Difference, Differences
from trackyard.record.comparing.outcomes import Outcome
from trackyard.record.comparing.summary import RunSummary
from trackyard.record.comparing.track_table import Spread, TrackRow, TrackTable

ABSENT, NONE, UNKNOWN, BY_SEED = "absent", "none", "unknown", "by seed"
ARROWS = {"lower": "↓", "higher": "↑", None: ""}
"""Which way is better."""
BEST = " *"
"""Behind the best value of a row."""
_DIGEST = re.compile(r"[0-9a-f]{40,64}")
_DIGEST_SHOWN = 12


def comparison_grids(findings: Findings) -> Iterator[Grid]:
    """Everything of `trackyard compare RUN…` that is a table, in the order in which it is told."""
    comparison = findings.comparison
    yield runs_grid(comparison.runs)
    if comparison.differences.differing:
        yield differences_grid(comparison.differences, comparison.runs)
    if comparison.outcomes:
        yield outcomes_grid(comparison)
    yield costs_grid(comparison)
    if findings.pairing.pairs:
        yield pairs_grid(findings.pairing)
    if findings.pairing.shares:
        yield shares_grid(findings.pairing)


def runs_grid(runs: Sequence[RunSummary]) -> Grid:
    """Which number is which run."""
    return Grid(
        title="Runs",
        header=("", "status", "seed", "attempts", "arm"),
        rows=tuple(
            (
                f"{number} {run.label}",
                run.status.lower(),
                str(run.seed),
                str(run.attempts),
                run.tags.get("trackyard.arm", "-"),
            )
            for number, run in enumerate(runs, start=1)
        ),
    )


def differences_grid(differences: Differences, runs: Sequence[RunSummary]) -> Grid:
    """What differs; equal things are counted in the title."""
    equal = ", ".join(f"{count} {kind}" for kind, count in differences.equal.items())
    return Grid(
        title=f"What differs (equal: {equal or 'nothing'})",
        header=("", *_numbers(runs)),
        rows=tuple((_leaf(one), *map(shown_value, one.values)) for one in differences.differing),
    )


def outcomes_grid(comparison: Comparison) -> Grid:
    """Metrics that all runs have; the best value of a row is marked, and steps stand beside values of unlike steps."""
    return Grid(
        title=f"What came out{_lone(comparison)}",
        header=("", "", *_numbers(comparison.runs)),
        rows=tuple((_titled(one.metric, one.unit), ARROWS[one.better], *_values(one)) for one in comparison.outcomes),
    )


def costs_grid(comparison: Comparison) -> Grid:
    return Grid(
        title="What it cost",
        header=("", *_numbers(comparison.runs)),
        rows=tuple((f"{one.name} ({one.unit})", *map(_cost, one.values)) for one in comparison.costs),
    )


def pairs_grid(pairing: Pairing) -> Grid:
    """Every run against the first."""
    return Grid(
        title="In pairs, on the same samples (p corrected after Holm over this table)",
        header=("", "n", "run 1", "other run", "difference [95 % interval]", "test", "p", "Holm", ""),
        rows=tuple(
            (
                f"{pair.run + 1} against 1: {pair.metric}",
                f"{pair.tested.difference.samples:,}",
                f"{pair.tested.difference.second:.4g}",
                f"{pair.tested.difference.first:.4g}",
                f"{pair.tested.difference.difference:+.4g} {_ends(pair.tested.difference.ci95, '+.4g')}",
                pair.tested.test,
                f"{pair.tested.p:.2g}",
                f"{pair.holm_p:.2g}",
                pair.found,
            )
            for pair in pairing.pairs
        ),
    )


def shares_grid(pairing: Pairing) -> Grid:
    """Where only counts are stored: told apart only if the intervals do not overlap."""
    return Grid(
        title="By counts alone (Wilson's 95 % intervals as if answers stood alone; apart if they do not overlap)",
        header=("", "n", "run 1", "other run", ""),
        rows=tuple(
            (
                f"{share.run + 1} against 1: {share.metric}",
                f"{share.answers:,}",
                *(f"{value:.4g} {_ends(ends, '.4g')}" for value, ends in zip(share.values, share.ci95, strict=True)),
                share.found,
            )
            for share in pairing.shares
        ),
    )


def track_grid(table: TrackTable) -> Grid:
    """Rows as they are ranked; the mean over seeds, ± their standard deviation, and of how many if not of all."""
    count = sum(len(row.runs) for row in table.rows)
    return Grid(
        title=f"{table.track}: {count} runs, {table.equal} things alike in all of a stage",
        header=(
            "runs",
            "seeds",
            *(name.rstrip(":") for name in table.columns),
            *(f"{_titled(one.metric, one.unit)} {ARROWS[one.better]}".strip() for one in table.metrics),
            "device h",
            "kWh",
        ),
        rows=tuple(
            (
                ", ".join(run.run_id for run in row.runs),
                _seeds(row),
                *(BY_SEED if row.by_seed(name) else shown_value(row.values.get(name)) for name in table.columns),
                *(_spread(row.metrics.get(one.metric), len(row.runs)) for one in table.metrics),
                _cost(row.device_hours),
                _cost(row.energy_kwh),
            )
            for row in table.rows
        ),
    )


def shown_value(value: str | None) -> str:
    """A leaf for people: a digest by its beginning, a text in quotation marks only if it reads like another value."""
    if value is None:
        return ABSENT
    plain = json.loads(value)
    if plain is None:
        return NONE
    if not isinstance(plain, str):
        return value
    if _DIGEST.fullmatch(plain):
        return plain[:_DIGEST_SHOWN]
    return value if plain in (ABSENT, NONE) or _is_json(plain) else plain


def _is_json(text: str) -> bool:
    """As "1e-4" is, which is not the number."""
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _numbers(runs: Sequence[RunSummary]) -> tuple[str, ...]:
    return tuple(f"{number} {run.run_id}" for number, run in enumerate(runs, start=1))


def _leaf(one: Difference) -> str:
    return one.name if one.name == one.kind else f"{one.kind}: {one.name}"


def _lone(comparison: Comparison) -> str:
    return f" (metrics of all runs; {len(comparison.lone)} more are of some only)" if comparison.lone else ""


def _titled(metric: str, unit: str) -> str:
    return f"{metric} ({unit})" if unit else metric


def _values(one: Outcome) -> Iterator[str]:
    unlike = len(set(one.steps)) > 1
    for number, (value, step) in enumerate(zip(one.values, one.steps, strict=True)):
        at = f" at step {step:,}" if unlike else ""
        yield f"{value:.5g}{at}{BEST if number in one.best else ''}"


def _cost(value: float | None) -> str:
    # What three digits would round up to 1e+03 is a thousand.
    return UNKNOWN if value is None else f"{value:.3g}" if abs(value) < 999.5 else f"{value:,.0f}"


def _ends(interval: Interval, form: str) -> str:
    return f"[{interval.low:{form}}, {interval.high:{form}}]"


def _seeds(row: TrackRow) -> str:
    seeds = ", ".join(map(str, row.seeds))
    return f"{seeds} (each on data of its own)" if row.redrawn else seeds


def _spread(found: Spread | None, runs: int) -> str:
    if found is None:
        return "-"
    text = f"{found.mean:.5g}" + ("" if found.sd is None else f" ± {found.sd:.2g}")
    return text if found.runs == runs else f"{text} ({found.runs} of {runs})"
