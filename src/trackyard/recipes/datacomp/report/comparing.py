"""The last stage: everything that was measured in one table, with tests, a verdict, a report, figures and model cards.

Source: theworld spec sections 1, 12 and 13.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace

from trackyard.digest import digest_file
from trackyard.durable import write_atomic
from trackyard.recipes.datacomp.cells import ALL
from trackyard.recipes.datacomp.report.card import write_cards
from trackyard.recipes.datacomp.report.claims import claims, margins, require_margins
from trackyard.recipes.datacomp.report.figures import draw_figures
from trackyard.recipes.datacomp.report.gathering import TRAIN, Gathered, gather, result_paths
from trackyard.recipes.datacomp.report.metrics import all_metrics, record_metrics, record_whole
from trackyard.recipes.datacomp.report.pairs import pairs
from trackyard.recipes.datacomp.report.table import tabulate
from trackyard.recipes.datacomp.report.writing import report, spoken
from trackyard.recipes.datacomp.results import Header, write_result
from trackyard.recipes.datacomp.study import Study
from trackyard.recipes.reporting.curves import write_curves
from trackyard.record.metrics_file import FILE, write_metrics

STAGE = "compare"
SUMMARY, REPORT = "summary.json", "report.md"


def compare(study: Study, say: Callable[[str], None]) -> None:
    """Put out artifacts/datacomp/results/ and card/, and send the numbers to the training runs.

    DataError for whatever may not stand in one table (`gathering.gather`), and nothing is put out then. MarginMissed
    where the trained run is no better than its controls, after the report that shows it.
    """
    started = time.monotonic()
    parameters = study.parameters
    gathered = gather(study)
    rows = tabulate(gathered, parameters)
    paired = pairs(gathered, parameters)
    found, reached = claims(gathered, parameters, paired), margins(rows, parameters)
    results = study.artifacts / "results"
    figures = draw_figures(rows, gathered, results)
    header = _header(study, gathered, time.monotonic() - started)
    text = report(rows, paired, found, reached, gathered, figures, gemma=header.base.gemma, vae=header.base.vae)
    write_atomic(results / REPORT, text)
    body = {
        "table": [row.to_json() for row in rows],
        "paired": [pair.to_json() for pair in paired],
        # Whatever collides ends the stage.
        "collisions": [],
        "compared": asdict(gathered.collisions),
        "verdict": {
            "claims": [claim.to_json() for claim in found],
            "admissible": [claim.benchmark for claim in found if claim.admissible],
            "margins": [margin.to_json() for margin in reached],
        },
        "examined": asdict(gathered.examined),
    }
    write_result(results / SUMMARY, STAGE, header, body)
    write_metrics(results / FILE, all_metrics(study, gathered, rows))
    write_curves(results, {label: result.body["history"] for label, result in gathered.cells[TRAIN].items()})
    cards = write_cards(study, gathered, [(claim.benchmark, claim.words) for claim in found])
    for line in spoken(rows, paired, found, reached, gathered):
        say(line)
    recorded, absent = record_metrics(study, gathered)
    record_whole(study, gathered, rows, results, [REPORT, SUMMARY, FILE, *(name for name, _ in figures)])
    say(f"{recorded} training runs have these numbers beside their curves" + _elsewhere(absent))
    say(f"{(results / REPORT).relative_to(study.root)}, and {cards} cards below {cards_at(study)}")
    require_margins(reached)


def cards_at(study: Study) -> str:
    """Folder of the model cards, as a person reads it."""
    return (study.artifacts / "card").relative_to(study.root).as_posix()


def _header(study: Study, gathered: Gathered, wall_s: float) -> Header:
    """Inputs are the results that the table is made of; it is about all arms."""
    inputs = {path.relative_to(study.root).as_posix(): digest_file(path) for path in result_paths(study)}
    encoder = next(iter(gathered.cells[TRAIN].values())).header.base.vae_digest
    header = study.header(STAGE, None, inputs=inputs, device="cpu", wall_s=round(wall_s, 3), vae_digest=encoder)
    return replace(header, cell=ALL)


def _elsewhere(absent: Sequence[str]) -> str:
    return f"; not on this machine: the runs of {', '.join(absent)}" if absent else ""
