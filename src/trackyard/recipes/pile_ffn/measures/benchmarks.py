"""Benchmarks of one cell, and what became of every item, kept for tests in pairs. Source: pile-ffn spec section 7."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from trackyard.acquire.places import Places
from trackyard.catalog.entries import load_catalogue
from trackyard.catalog.selection import find
from trackyard.digest import digest_bytes, digest_file, digest_json, short
from trackyard.durable import write_atomic
from trackyard.errors import DataError
from trackyard.evaluate.harness.definitions import DEFINITIONS, require_known
from trackyard.evaluate.harness.items import Items, fetched_items
from trackyard.evaluate.harness.run import run_on_export
from trackyard.models.nonneg_export import EXACT
from trackyard.recipes.pile_ffn.cells import Cell
from trackyard.recipes.pile_ffn.measures.exports import PRECISION, device, export_inputs
from trackyard.recipes.pile_ffn.measures.kept import measured
from trackyard.recipes.pile_ffn.measures.made_benchmarks import write_made_benchmarks
from trackyard.recipes.pile_ffn.results import Result
from trackyard.recipes.pile_ffn.study import MADE, TRACK, Study
from trackyard.recipes.pile_ffn.text.token_sets import slice_digest

STAGE = "eval_bench"
SAMPLES = "samples.jsonl"
NOT_ASKED_FOR = "not among pile_ffn.benchmarks.tasks in params.yaml"


def benchmarks(study: Study, cell: Cell, say: Callable[[str], None]) -> Result:
    """Score the export of a cell on every task of the parameters, through the harness's own Hugging Face backend.

    Beside the result lies samples.jsonl, with a line per item; the body has its digest. EnvironmentLacking where items
    were never fetched, with the command that does it.
    """
    parameters = study.parameters.benchmarks
    require_known(parameters.tasks)
    items = _items(study, parameters.tasks)
    files = {name: digest for of in items.values() for name, digest in of.files.items()}

    def make() -> Mapping[str, Any]:
        outcome = run_on_export(
            study.export(cell) / EXACT,
            items,
            device=device().type,
            batch=parameters.batch,
            limit=parameters.limit,
            # Its configuration has room for more than a made model was ever shown.
            positions=None if study.parameters.model.made is None else study.parameters.training.window,
        )
        lines = b"".join(sample.line() for sample in outcome.samples)
        digest = digest_bytes(lines)
        write_atomic(_kept_samples(study, cell, digest), lines)
        return {
            "tasks": {name: of.to_json() for name, of in outcome.tasks.items()},
            "absent": {name: NOT_ASKED_FOR for name in DEFINITIONS if name not in parameters.tasks}
            | dict(outcome.absent),
            "samples": {"path": SAMPLES, "blake3": digest, "items": len(outcome.samples)},
        }

    result = measured(
        study,
        STAGE,
        cell,
        inputs=export_inputs(study, cell) | files,
        make=make,
        slice_digest=None if cell.seed is None else slice_digest(study, study.replicate(cell)),
        precision=PRECISION,
        device=device().type,
    )
    _put_samples(study, cell, result)
    for name, found in result.body["tasks"].items():
        metric = DEFINITIONS[name].metric
        say(f"{cell.name}: {name} {metric} {found[metric]['value']:.3f} over {found['n']} items")
    for name, reason in result.body["absent"].items():
        say(f"{cell.name}: {name} did not run: {reason}")
    return result


def _items(study: Study, tasks: tuple[str, ...]) -> dict[str, Items]:
    """Items of each task; tasks over the same data set share them."""
    entries = {task: DEFINITIONS[task].entry for task in tasks}
    if study.parameters.benchmarks.source == MADE:
        made = {entry: _made(study, entry) for entry in entries.values()}
        return {task: made[entry] for task, entry in entries.items()}
    catalogue, cache = load_catalogue(study.root / "catalog"), Places.of(study.root).hub
    fetched = {entry: fetched_items(find(catalogue, entry), cache) for entry in entries.values()}
    return {task: fetched[entry] for task, entry in entries.items()}


def _made(study: Study, entry: str) -> Items:
    """Made once and kept under runs/: they depend on the seed of the mini corpus and on their number alone."""
    recipe = {"seed": study.parameters.data.mini.seed, "items": study.parameters.benchmarks.made_items}
    directory = study.runs / TRACK / "benchmarks" / short(digest_json(recipe))
    if not directory.exists():
        # Another process may have made the same a moment ago.
        with suppress(FileExistsError):
            write_made_benchmarks(directory, **recipe)
    files = {
        path.relative_to(study.root).as_posix(): digest_file(path) for path in sorted((directory / entry).iterdir())
    }
    return Items(dataset=MADE, revision=digest_json(files), directory=directory / entry, files=files)


def _kept_samples(study: Study, cell: Cell, digest: str) -> Path:
    return study.runs / TRACK / "measured" / STAGE / f"{cell.name}-{short(digest)}-{SAMPLES}"


def _put_samples(study: Study, cell: Cell, result: Result) -> None:
    """Beside the result, from where they are kept. DataError if they are gone or were altered."""
    stated = result.body["samples"]["blake3"]
    kept = _kept_samples(study, cell, stated)
    data = kept.read_bytes() if kept.is_file() else b""
    if digest_bytes(data) != stated:
        raise DataError(
            what=f"{kept} is {'not what was written' if data else 'gone'}, and the result of {cell.name} was kept",
            why="tests in pairs are made on the items, which the figures alone do not hold",
            fix=f"rm {kept.parent / cell.name}-{result.header.run_id}.json, then dvc repro pipelines/pile_ffn/dvc.yaml",
        )
    write_atomic(study.place(STAGE, cell) / SAMPLES, data)
