"""The nine data sets in the report: what fewer visual tokens, experts and blocks cost, and what time they save."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from trackyard.digest import digest_json
from trackyard.errors import DataError
from trackyard.evaluate.frontier import Frontier, FrontierPoint, read_frontier
from trackyard.evaluate.tasks.registry import load_tasks
from trackyard.recipes.nine.declared import SCHEMA as DECLARED
from trackyard.recipes.nine.results import DOCUMENT, PIPELINE, Result, read_result
from trackyard.recipes.overview.blocks import Block, Bullets, Caveat, Folded, Section, Table, Text
from trackyard.recipes.overview.kept import kept_picture, origin, unchanged
from trackyard.recipes.overview.track import Headline, TrackReport
from trackyard.recipes.reporting.grid import Grid
from trackyard.record.metrics_file import FILE
from trackyard.schema import read_document

TRACK = "nine"
ARTIFACTS = Path("artifacts") / TRACK
STAGE, MODEL = "compare", "model"
STAGES = ("data", MODEL, "importance", "sweep", "accuracy", "latency")
"""Before the last one, each with a result in the folder of its name."""
KNOBS = ("visual", "experts", "blocks")
AGAIN = f"dvc repro {PIPELINE}"


@dataclass(frozen=True, kw_only=True, slots=True)
class DataSet:
    """title: for people. by: total latency, milliseconds at P50. best: key; as_good: keys that tie with it.

    knobs: words for every key.
    """

    name: str
    title: str
    by: Frontier
    best: str
    as_good: frozenset[str]
    knobs: Mapping[str, str]

    def point(self, key: str) -> FrontierPoint:
        return next(point for point in self.by.points if point.key == key)

    @property
    def fastest_as_good(self) -> FrontierPoint:
        return next(point for point in self.by.points if point.key in {self.best, *self.as_good})

    @property
    def fastest(self) -> FrontierPoint:
        return next(point for point in self.by.points if point.on_frontier)

    @property
    def saved(self) -> float:
        """Share of the best one's time that the fastest of the equally good saves."""
        return 1 - self.fastest_as_good.x / self.point(self.best).x


def there(root: Path) -> bool:
    return (root / ARTIFACTS / "results" / DOCUMENT).is_file()


def absent(root: Path) -> tuple[str, str] | None:
    """The track, and the command that makes its results, unless they are there."""
    return None if there(root) else (TRACK, AGAIN)


def gather(root: Path) -> TrackReport:
    """DataError names what is absent or was altered."""
    results = root / ARTIFACTS / "results"
    compared = read_result(results / DOCUMENT, STAGE)
    stages = _stages(root, compared)
    made = [
        *(["the model"] if stages[MODEL].body["training"] is not None else []),
        *(["the questions"] if _parameters(root, compared)["data"]["fixture"] is not None else []),
    ]
    titles = {name: task.title or name for name, task in load_tasks(root / "tasks").items()}
    found = [_data_set(results, compared, name, titles.get(name, name)) for name in compared.body["data_sets"]]
    return TrackReport(
        track=TRACK,
        section=Section(
            anchor=TRACK,
            title="Nine data sets: accuracy against latency",
            blocks=tuple(_blocks(results, compared, found)),
        ),
        headlines=tuple(_headlines(found, compared)),
        made_data=", ".join(made),
        origin=origin((stage, result.header) for stage, result in [*stages.items(), (STAGE, compared)]),
        models=(),
        metrics={results / FILE: "sweep"},
    )


def _stages(root: Path, compared: Result) -> Mapping[str, Result]:
    """Results by stage. DataError for one that is absent or altered, or is not the one that was compared."""
    unchanged(root, compared.header.inputs, again=AGAIN)
    found = {stage: read_result(root / ARTIFACTS / stage / DOCUMENT, stage) for stage in STAGES}
    if found[MODEL].header.model != compared.header.model:
        raise DataError(
            what=f"the model in {root / ARTIFACTS / MODEL} is {found[MODEL].header.model}, the tables are of"
            f" {compared.header.model}",
            why="the report would name another model than the one that answered",
            fix=AGAIN,
        )
    return found


def _parameters(root: Path, compared: Result) -> Mapping[str, Any]:
    """What decided the comparison, by section. DataError where it is absent, or by now other than what was compared."""
    path = root / ARTIFACTS / "parameters" / f"{STAGE}.json"
    found: Mapping[str, Any] = read_document(path, DECLARED, fix=AGAIN)["results"][STAGE]
    if digest_json(found) != compared.header.spec_digest:
        raise DataError(
            what=f"{path} is of other parameters than the tables, whose spec_digest is {compared.header.spec_digest}",
            why="it says which data sets and which model are made by the project itself",
            fix=AGAIN,
        )
    return found


def _data_set(results: Path, compared: Result, name: str, title: str) -> DataSet:
    path = results / "tables" / f"{name}.csv"
    if not path.is_file():
        raise DataError(what=f"{path} does not exist", why="it names the knobs of every configuration", fix=AGAIN)
    rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))
    return DataSet(
        name=name,
        title=title,
        by=read_frontier(results / "frontiers" / f"{name}-total.json", fix=AGAIN),
        best=compared.body["best"][name],
        as_good=frozenset(compared.body["as_good"][name]),
        knobs={
            row["key"]: ", ".join(f"{knob} {row[knob]}" for knob in KNOBS if row[knob]) or "no knobs" for row in rows
        },
    )


def _blocks(results: Path, compared: Result, found: Sequence[DataSet]) -> Iterator[Block]:
    yield Text(
        "What do fewer visual tokens, experts and blocks cost in accuracy, and what do they save in time? A"
        " configuration is as good as the best where nothing shows a difference on the same questions. Times are P50 of"
        f" vision, prefill and decode together, on {compared.header.device}. CIDEr is published times 100. An interval"
        " of one point means that all questions scored alike, and not that nothing is left to chance."
    )
    if compared.body["watermark"]:
        yield Caveat(compared.body["watermark"])
    if compared.body["warnings"]:
        yield Caveat("Be wary: " + "; ".join(compared.body["warnings"]) + ".")
    yield Table(_overview(found), wordy=frozenset({1}))
    yield _figure(
        results,
        "all-total",
        "Accuracy over total latency, a panel for each data set; every point is a configuration. The line is the"
        " frontier, dashed where a step is a tie on these questions; bars are 95 % intervals on the frontier.",
        f"Accuracy over latency of {max(len(each.by.points) for each in found)} configurations on {len(found)} data"
        " sets, with Pareto frontiers",
    )
    yield Folded(
        "The same over prefill, and over decode",
        tuple(
            _figure(results, f"all-{part}", f"Accuracy over P50 of {part}, milliseconds.",
                    f"Accuracy over {part} latency on {len(found)} data sets, with Pareto frontiers")
            for part in ("prefill", "decode")
        ),
    )  # fmt: skip
    yield Folded(
        "Configurations on a frontier of total latency",
        (
            Bullets(
                tuple(
                    f"{each.title}: "
                    + "; ".join(f"{each.knobs[point.key]} ({point.y:.3f}, {point.x:.1f} ms)" for point in _on(each))
                    + "."
                    for each in found
                )
            ),
        ),
    )


def _figure(results: Path, name: str, caption: str, alt: str) -> Block:
    return kept_picture(results, f"figures/{name}", track=TRACK, caption=caption, alt=alt, again=AGAIN)


def _on(each: DataSet) -> list[FrontierPoint]:
    return [point for point in each.by.points if point.on_frontier]


def _overview(found: Sequence[DataSet]) -> Grid:
    def row(each: DataSet) -> tuple[str, ...]:
        best, quick, fastest = each.point(each.best), each.fastest_as_good, each.fastest
        return (
            each.title,
            each.by.y,
            f"{best.y:.3f} [{best.y_lo:.3f}, {best.y_hi:.3f}]",
            f"{best.x:.1f}",
            str(len(each.as_good)),
            f"{quick.y:.3f}",
            f"{quick.x:.1f}",
            f"{each.saved:.0%}",
            f"{fastest.y:.3f}",
            f"{fastest.x:.1f}",
            f"{len(_on(each))} of {len(each.by.points)}",
        )

    return Grid(
        title="accuracy [95 %] and milliseconds: the best configuration, the fastest that is as good, the fastest",
        header=("data set", "metric", "best", "its ms", "as good", "fastest as good", "its ms", "time saved", "fastest",
                "its ms", "on the frontier"),
        rows=tuple(map(row, found)),
    )  # fmt: skip


def _headlines(found: Sequence[DataSet], compared: Result) -> Iterator[Headline]:
    saved = sorted(each.saved for each in found)
    yield Headline(
        what=f"time saved without a measurable loss, median of {len(found)} data sets",
        value=f"{median(saved):.0%}",
        interval=f"data sets {saved[0]:.0%} to {saved[-1]:.0%}",
        against="the most accurate configuration of each data set",
        says=compared.body["watermark"]
        or f"of one model, on {compared.header.device} only; a tie is no proof of equality",
    )
