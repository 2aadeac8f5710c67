"""The last stage: everything that was measured as frontiers, figures, pages, tables and a report, and in MLflow.

Source: nine-datasets spec sections 8 and 9.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from trackyard.digest import digest_file
from trackyard.durable import write_atomic
from trackyard.recipes.nine.data import STAGE as DATA
from trackyard.recipes.nine.report.figures import draw_figures
from trackyard.recipes.nine.report.findings import Finding, findings, require_uncapped, warnings
from trackyard.recipes.nine.report.frontiers import frontiers, write_frontiers
from trackyard.recipes.nine.report.gathering import Gathered
from trackyard.recipes.nine.report.interactive import write_pages
from trackyard.recipes.nine.report.metrics import POINTS, summary, write_numbers
from trackyard.recipes.nine.report.pairs import Pairs
from trackyard.recipes.nine.report.reading import gather
from trackyard.recipes.nine.report.recording import record_sweep
from trackyard.recipes.nine.report.tables import write_tables
from trackyard.recipes.nine.report.writing import report, spoken
from trackyard.recipes.nine.results import DOCUMENT, read_result, write_result
from trackyard.recipes.nine.study import Study
from trackyard.record.image import image_digest
from trackyard.record.metrics_file import FILE
from trackyard.record.tracking.server import DatasetFact

STAGE, FOLDER, REPORT = "compare", "results", "report.md"


def compare(study: Study, say: Callable[[str], None]) -> None:
    """Put out artifacts/nine/results, and record the sweep and its configurations.

    DataError for whatever may not stand in one table (`gathering.put_together`); nothing is put out then. CutAnswers,
    after the report that shows it, where more answers than may end at the cap of their task.
    """
    started = time.monotonic()
    gathered = gather(study)
    results = study.artifacts / FOLDER
    found, warned, shown = put_out(gathered, results, resamples=study.parameters.resamples)
    run_id, recorded = record_sweep(
        gathered,
        found,
        results,
        shown,
        runs=study.root / "runs",
        code=study.code,
        image=image_digest(),
        seed=study.parameters.data.seed,
        datasets=_datasets(study),
    )
    read = [study.sweep, *(study.document(stage) for stage in (DATA, "sweep", "accuracy", "latency"))]
    header = study.header(
        STAGE,
        inputs={path.relative_to(study.root).as_posix(): digest_file(path) for path in read},
        device=", ".join(sorted({machine.device for machine in gathered.sweep.machines})),
        wall_s=round(time.monotonic() - started, 3),
        model=gathered.sweep.digest,
    )
    body = {
        "watermark": gathered.watermark,
        "warnings": warned,
        "data_sets": summary(found),
        "best": {each.task.name: each.best.key for each in found},
        "as_good": {each.task.name: list(each.as_good) for each in found},
        "recorded": {"sweep": run_id, "configurations": recorded},
    }
    write_result(results / DOCUMENT, STAGE, header, body)
    where = results.relative_to(study.root).as_posix()
    for line in spoken(gathered, found, warned, where):
        say(line)
    require_uncapped(gathered)


def _datasets(study: Study) -> list[DatasetFact]:
    """The questions of every task, as they were listed when they were staged."""
    listed = read_result(study.document(DATA), DATA).body["tasks"]
    return [
        DatasetFact(name=name, digest=body["digest"], source=f"questions of the task {name}", context="evaluation")
        for name, body in listed.items()
    ]


def put_out(gathered: Gathered, results: Path, *, resamples: int) -> tuple[list[Finding], list[str], Sequence[str]]:
    """Write everything but the result of the stage below `results`, in place of what was there.

    Returns what was found, what to be wary of, and the files that belong beside the numbers in MLflow.
    """
    if results.exists():
        shutil.rmtree(results)
    by_dataset, pairs = frontiers(gathered), Pairs(gathered, resamples=resamples)
    found, warned = findings(gathered, by_dataset, pairs), warnings(gathered)
    write_frontiers(by_dataset, results)
    figures = draw_figures(gathered, by_dataset, pairs, results)
    pages = write_pages(gathered, by_dataset, pairs, results)
    tables = write_tables(gathered, by_dataset, results)
    write_numbers(gathered, by_dataset, found, results)
    write_atomic(results / REPORT, report(gathered, by_dataset, found, warned, figures, pages, tables))
    return found, warned, [REPORT, FILE, POINTS, *figures, *tables]
