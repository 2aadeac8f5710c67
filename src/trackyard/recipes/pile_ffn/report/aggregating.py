"""The last stage: everything that was measured in one table, a report and figures. Source: pile-ffn spec section 10."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any

from trackyard.digest import digest_file, digest_json, short
from trackyard.durable import write_atomic
from trackyard.evaluate.comparison import Comparison
from trackyard.recipes.pile_ffn.cells import ALL, UNTOUCHED, Cell
from trackyard.recipes.pile_ffn.report.claims import TAU, claims, flags, pairs
from trackyard.recipes.pile_ffn.report.figures import draw_figures
from trackyard.recipes.pile_ffn.report.gathering import Gathered, declared, gather
from trackyard.recipes.pile_ffn.report.grids import Transfers
from trackyard.recipes.pile_ffn.report.metrics import TRAIN, all_metrics, record_metrics, record_whole
from trackyard.recipes.pile_ffn.report.table import tabulate, transfers
from trackyard.recipes.pile_ffn.report.writing import report, spoken
from trackyard.recipes.pile_ffn.results import Header, write_result
from trackyard.recipes.pile_ffn.study import Study
from trackyard.recipes.reporting.curves import write_curves
from trackyard.record.metrics_file import FILE, write_metrics

STAGE = "aggregate"
SUMMARY, REPORT = "summary.json", "report.md"


def aggregate(study: Study, say: Callable[[str], None]) -> None:
    """Put out `artifacts/pile_ffn/results/`: summary.json, report.md and figures; metrics.json and curves for DVC.

    Numbers go to the training runs too, and with the figures into a run of the study.

    DataError for whatever may not stand in one table (`gathering.gather`); nothing is put out then.
    """
    started = time.monotonic()
    gathered = gather(study)
    rows = tabulate(gathered, study.parameters.cells)
    paired = pairs(gathered, study.parameters)
    warnings = flags(gathered, rows)
    found = claims(study.parameters, paired, warnings)
    squares = transfers(gathered)
    results = study.artifacts / "results"
    figures = draw_figures(rows, results)
    write_atomic(
        results / REPORT,
        report(rows, paired, squares, warnings, found, gathered.examined, figures, model=study.parameters.model.id),
    )
    body = {
        "table": [row.to_json() for row in rows],
        "paired": [_paired(pair) for pair in paired],
        "tau": TAU,
        "transfer": {attack: _square(square) for attack, square in squares.items()},
        "flags": [flag.to_json() for flag in warnings],
        "claims": [claim.to_json() for claim in found],
        "examined": gathered.examined.to_json(),
    }
    write_result(results / SUMMARY, STAGE, _header(study, gathered, time.monotonic() - started), body)
    write_metrics(results / FILE, all_metrics(gathered, rows))
    write_curves(results, {name: result.body["history"] for name, result in gathered.results[TRAIN].items()})
    for line in spoken(rows, warnings, found, gathered.examined):
        say(line)
    recorded, absent = record_metrics(study, gathered)
    record_whole(study, gathered, rows, results, [REPORT, SUMMARY, FILE, *(name for name, _ in figures)])
    say(f"{recorded} training runs have these numbers beside their curves" + _elsewhere(absent))
    say(f"{(results / REPORT).relative_to(study.root)}")


def _header(study: Study, gathered: Gathered, wall_s: float) -> Header:
    """Inputs are the results that the table is made of; it is about all arms."""
    inputs = {
        path.relative_to(study.root).as_posix(): digest_file(path)
        for stage, found in gathered.results.items()
        for name in found
        for path in [study.document(stage, declared(study)[stage][name])]
    }
    header = study.header(
        STAGE,
        Cell(arm=UNTOUCHED, seed=None),
        run_id=short(digest_json({"stage": STAGE, "spec": study.spec_digest(STAGE), "inputs": inputs})),
        inputs=inputs,
        slice_digest=None,
        precision={},
        device="cpu",
        wall_s=wall_s,
    )
    return replace(header, arm=ALL)


def _paired(pair: Comparison) -> dict[str, Any]:
    return asdict(pair) | {"ci95": [pair.ci95.low, pair.ci95.high]}


def _square(square: Transfers) -> dict[str, Any]:
    return {source: {target: asdict(found) for target, found in row.items()} for source, row in square.items()}


def _elsewhere(absent: Sequence[str]) -> str:
    return f"; not on this machine: the runs of {', '.join(absent)}" if absent else ""
