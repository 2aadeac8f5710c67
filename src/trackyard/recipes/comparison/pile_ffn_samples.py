"""Samples of a run of the Pile-FFN study: losses of documents, items of benchmarks, documents under attack.

A result belongs to a run if it names the digests of the run's own weights among what it read, and is of its cell. So
runs whose results in artifacts/ were since replaced are still compared, by what is kept under runs/pile_ffn/measured.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from trackyard.digest import digest_bytes, short
from trackyard.errors import DataError
from trackyard.evaluate.comparison import AttackOutcome
from trackyard.evaluate.harness.definitions import DEFINITIONS
from trackyard.evaluate.model_comparison import Scores
from trackyard.recipes.comparison.samples import Samples, newest_first, weights_of
from trackyard.recipes.pile_ffn.cells import UNTOUCHED, Cell
from trackyard.recipes.pile_ffn.results import DOCUMENT, Result, read_result
from trackyard.recipes.pile_ffn.study import ARTIFACTS, TRACK
from trackyard.record.comparing.summary import RunSummary

PERPLEXITY, BENCHMARKS, ATTACKS = "eval_ppl", "eval_bench", ("attack_uat", "attack_hotflip")
SAMPLES = "samples.jsonl"


def pile_ffn_samples(run: RunSummary, root: Path) -> Samples:
    """DataError for a result that was altered."""
    if run.stage not in ("train", UNTOUCHED):
        return Samples(lacks=(f"no samples are stored of the stage {run.stage}",))
    trained = run.stage == "train"
    cell = Cell(arm=str(run.spec["parameters"]["arm"]) if trained else UNTOUCHED, seed=run.seed if trained else None)
    weights = weights_of(run.path / "final" / "fp32")
    if not weights:
        return Samples(lacks=(f"its weights are not in {run.path / 'final'}, so no result can be told to be of it",))
    found, lacks = {}, []
    for stage in (PERPLEXITY, BENCHMARKS, *ATTACKS):
        result = _result(stage, cell, weights, run, root)
        if result is None:
            lacks.append(f"no result of {stage} was measured on its weights")
        elif stage == PERPLEXITY:
            found["test/nll"] = _documents(result.body)
        elif stage == BENCHMARKS:
            found |= _items(result.body, cell, run, root)
        else:
            for attack, block in result.body["attacks"].items():
                found[f"attack/{attack}/delta_nats"] = Scores(values=AttackOutcome.of(block).deltas)
    return Samples(scores=found, lacks=tuple(lacks))


def _result(stage: str, cell: Cell, weights: frozenset[str], run: RunSummary, root: Path) -> Result | None:
    """What lies in artifacts/ if it is of these weights, else the newest that was kept and is."""
    for path in _places(stage, cell, run, root):
        result = read_result(path, stage)
        header = result.header
        if (header.arm, header.seed) == (cell.arm, cell.seed) and weights <= set(header.inputs.values()):
            return result
    return None


def _places(stage: str, cell: Cell, run: RunSummary, root: Path) -> Iterator[Path]:
    shown = root / ARTIFACTS / stage / cell.path / DOCUMENT
    if shown.is_file():
        yield shown
    yield from newest_first(_kept(stage, run).glob(f"{cell.name}-*.json"))


def _kept(stage: str, run: RunSummary) -> Path:
    return run.path.parents[2] / TRACK / "measured" / stage


def _documents(body: Mapping[str, Any]) -> Scores:
    """Losses of documents, so weighted that their mean is that of all tokens, as the metric is."""
    per_document = body["predicted_tokens"] / len(body["documents"])
    return Scores(values={record["doc_id"]: record["nll"] / per_document for record in body["documents"]})


def _items(body: Mapping[str, Any], cell: Cell, run: RunSummary, root: Path) -> dict[str, Scores]:
    stated = body["samples"]["blake3"]
    places = (
        _kept(BENCHMARKS, run) / f"{cell.name}-{short(stated)}-{SAMPLES}",
        root / ARTIFACTS / BENCHMARKS / cell.path / SAMPLES,
    )
    data = next(
        (found for path in places if path.is_file() and digest_bytes(found := path.read_bytes()) == stated), None
    )
    if data is None:
        raise DataError(
            what=f"{places[0]} is gone or was altered, and the result that speaks of it was not",
            why="tests in pairs are made on the items, which the figures alone do not hold",
            fix=f"rm {places[0].parent / cell.name}-*.json, then dvc repro pipelines/pile_ffn/dvc.yaml",
        )
    values: dict[str, dict[str, float]] = {}
    for line in map(json.loads, data.splitlines()):
        of_task = values.setdefault(line["task"], {})
        of_task[f"{line['doc_id']} {line['item']}"] = float(line["metrics"][DEFINITIONS[line["task"]].metric])
    return {f"bench/{task}": Scores(values=of_task) for task, of_task in values.items()}
