"""Every result of the track, read together, and what is refused before a number of it is compared.

Refused: cells that are missing or too many, altered files, results of other parameters than those in force, inputs that
are no longer what was read, sets of other items, empty sets, swallowed errors, and collisions. Source: theworld spec
sections 6, 12 and 13.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trackyard.digest import digest_file
from trackyard.errors import DataError
from trackyard.recipes.datacomp.cells import Cell
from trackyard.recipes.datacomp.report.collisions import Collisions, refuse_collisions
from trackyard.recipes.datacomp.results import PIPELINE, Result, read_result
from trackyard.recipes.datacomp.study import ARTIFACTS, EVALUATIONS, Study

TRAIN, AUDIT = "train", "audit_branch"
ALONE = ("metadata", "select", "download", "models", "eval_data", "curate", "latents", "eval_latents")
"""Results that are about no cell."""

Results = Mapping[str, Mapping[str, Result]]
"""By result, then by the label of a cell."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Examined:
    """How much was looked at: a verdict over nothing is none.

    results: files, inputs: files that they were made from. items: by set. commits: of the code that measured.
    """

    results: int
    inputs: int
    items: Mapping[str, int]
    commits: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Gathered:
    """What passed. alone: results about no cell, by name."""

    cells: Results
    alone: Mapping[str, Result]
    collisions: Collisions
    examined: Examined

    def evaluated(self, name: str) -> Mapping[str, Result]:
        """Results of a set of items, by the label of a cell."""
        return self.cells[EVALUATIONS[name]]


def gather(study: Study) -> Gathered:
    """Read and examine everything that the table is made of. DataError names the first thing that may not be in it."""
    cells = {name: _admitted(study, name, declared) for name, declared in declared_results(study).items()}
    alone = {name: read_result(study.document(name), name) for name in ALONE}
    for name, label, result in _each(cells, alone):
        _refuse_outdated(study, name, label, result)
    inputs = _refuse_changed_inputs(study, cells, alone)
    sets: dict[str, dict[str, Result]] = {name: cells[EVALUATIONS[name]] for name in study.parameters.evaluation.sets}
    items: dict[str, int] = {name: _refuse_other_items(name, found) for name, found in sets.items()}
    everything = list(_each(cells, alone))
    return Gathered(
        cells=cells,
        alone=alone,
        collisions=refuse_collisions(study.parameters, sets),
        examined=Examined(
            results=len(everything),
            inputs=inputs,
            items=items,
            commits=tuple(sorted({result.header.git_commit for _, _, result in everything})),
        ),
    )


def declared_results(study: Study) -> dict[str, dict[str, Cell]]:
    """Of which cells, by label, there is to be each result."""
    parameters = study.parameters
    measured = (AUDIT, *(EVALUATIONS[name] for name in parameters.evaluation.sets))
    return {TRAIN: parameters.trained_cells, **dict.fromkeys(measured, parameters.evaluated)}


def result_paths(study: Study) -> list[Path]:
    """Every file that `gather` reads."""
    return [
        *(study.document(name) for name in ALONE),
        *(study.document(name, cell) for name, cells in declared_results(study).items() for cell in cells.values()),
    ]


def _each(cells: Results, alone: Mapping[str, Result]) -> Iterator[tuple[str, str, Result]]:
    """Result, cell, and what was read."""
    yield from ((name, label, result) for name, found in cells.items() for label, result in found.items())
    yield from ((name, "the study", result) for name, result in alone.items())


def _admitted(study: Study, name: str, declared: Mapping[str, Cell]) -> dict[str, Result]:
    """Of exactly the declared cells, each saying that it is of its cell."""
    directory = study.artifacts / name
    wanted = {cell.path for cell in declared.values()}
    found = {path.parent.relative_to(directory).as_posix() for path in directory.glob("**/result.json")}
    for what, paths, fix in (
        ("lacks", sorted(wanted - found), f"dvc repro {PIPELINE}"),
        ("holds, beside the declared cells,", sorted(found - wanted), "remove those folders"),
    ):
        if paths:
            raise DataError(
                what=f"{directory} {what} {', '.join(paths)}",
                why="the table is over the runs, arms and seeds that params.yaml declares, all of them and no other",
                fix=fix,
            )
    results = {label: read_result(study.document(name, cell), name) for label, cell in declared.items()}
    for label, cell in declared.items():
        header = results[label].header
        if (header.cell, header.seed) != (cell.name, cell.seed):
            path = study.document(name, cell)
            raise DataError(
                what=f"{path} is of {Cell(name=header.cell, seed=header.seed).label}",
                why=f"the cell is {label}: a result was copied",
                fix=f"rm {path}; then: dvc repro {PIPELINE}",
            )
    return results


def _refuse_outdated(study: Study, name: str, label: str, result: Result) -> None:
    now = study.spec_digest(name)
    if result.header.spec_digest != now:
        raise DataError(
            what=f"{name} of {label} has spec_digest {result.header.spec_digest}, params.yaml gives {now}",
            why="it was measured under other parameters than those that the table would name",
            fix=f"dvc repro {PIPELINE}",
        )


def _refuse_changed_inputs(study: Study, cells: Results, alone: Mapping[str, Result]) -> int:
    """Every file of the track that a result names, hashed as it lies there now; how many."""
    found: dict[str, str] = {}
    for name, label, result in _each(cells, alone):
        for path, digest in result.header.inputs.items():
            if not path.startswith(f"{ARTIFACTS.as_posix()}/"):
                continue
            if path not in found:
                found[path] = digest_file(study.root / path) if (study.root / path).is_file() else "absent"
            if found[path] != digest:
                raise DataError(
                    what=f"{path} is {found[path]}, {name} of {label} read {digest}",
                    why="the table would show numbers of something else than what lies in artifacts/",
                    fix=f"dvc repro {PIPELINE}   (which makes {name} of {label} again)",
                )
    return len(found)


def _refuse_other_items(name: str, found: Mapping[str, Result]) -> int:
    """All arms were asked the same, and none was asked nothing; how many items."""
    asked = {label: _asked(result.body) for label, result in found.items()}
    first = next(iter(asked))
    for label, items in asked.items():
        body = found[label].body
        if not items or body["n"] != len(items) != 0:
            raise DataError(
                what=f"{name} of {label} has n={body['n']} and {len(items)} records",
                why="a score over nothing, or over other items than are recorded, is none",
                fix=f"dvc repro {PIPELINE}   (which evaluates {label} again)",
            )
        if body["errors"]:
            raise DataError(
                what=f"{name} of {label} counts {body['errors']} errors",
                why="an item whose exception was swallowed has no answer, and no fallback answer exists",
                fix=f"see what raised, then: dvc repro {PIPELINE}",
            )
        if items != asked[first]:
            raise DataError(
                what=f"{name} of {label} is over {len(items)} items, that of {first} over {len(asked[first])}",
                why="arms are compared item by item, with the same tasks and gold answers",
                fix=f"evaluate the older of the two again: dvc repro {PIPELINE}",
            )
    return len(asked[first])


def _asked(body: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """Task and gold answer by item. An id that comes twice leaves fewer items than records, which is refused."""
    items = {record["id"]: (record["task"], record["gold"]) for record in body["records"]}
    return items if len(items) == len(body["records"]) else {}
