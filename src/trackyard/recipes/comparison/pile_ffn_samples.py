"""Samples of a run of the Pile-FFN study: losses of documents, items of benchmarks, documents under attack."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trackyard.digest import digest_bytes, digest_json, short
from trackyard.errors import DataError
from trackyard.evaluate.comparison import AttackOutcome
from trackyard.evaluate.harness.definitions import DEFINITIONS
from trackyard.evaluate.model_comparison import Scores
from trackyard.recipes.comparison.own_results import kept_results, own_result, weights_of
from trackyard.recipes.comparison.samples import Samples, Scored
from trackyard.recipes.pile_ffn.cells import UNTOUCHED, Cell
from trackyard.recipes.pile_ffn.results import DOCUMENT, Result, read_result
from trackyard.recipes.pile_ffn.study import ARTIFACTS
from trackyard.record.comparing.summary import RunSummary
from trackyard.snapshot.manifest import NAME as MANIFEST

PERPLEXITY, BENCHMARKS, ATTACKS = "eval_ppl", "eval_bench", ("attack_uat", "attack_hotflip")
TEXTS = {PERPLEXITY: ("test",), "attack_uat": ("uat_opt", "uat_eval"), "attack_hotflip": ("flip",)}
"""Sets of text that a stage measures on."""
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
            found["test/nll"] = Scored(
                asked=_asked(stage, result, result.body.get("scoring", {})), scores=_documents(result.body)
            )
        elif stage == BENCHMARKS:
            found |= _items(result, cell, run, root)
        else:
            for attack, block in result.body["attacks"].items():
                found[f"attack/{attack}/delta_nats"] = Scored(
                    asked=_asked(stage, result, block["config"]), scores=Scores(values=AttackOutcome.of(block).deltas)
                )
    return Samples(scores=found, lacks=tuple(lacks))


def _result(stage: str, cell: Cell, weights: frozenset[str], run: RunSummary, root: Path) -> Result | None:
    return own_result(
        weights,
        root / ARTIFACTS / stage / cell.path / DOCUMENT,
        kept_results(run, stage),
        cell.name,
        read=lambda path: read_result(path, stage),
        of_cell=lambda header: (header.arm, header.seed) == (cell.arm, cell.seed),
    )


def _asked(stage: str, result: Result, config: Mapping[str, Any]) -> str:
    """By the manifests of the texts, which prove every token, and how they are scored, or what an attack may try and
    how it searches; its seed is that of the cell. The table of all documents, which is read too, lists the training
    text as well.
    """
    texts = [result.header.inputs[(ARTIFACTS / "tokens" / name / MANIFEST).as_posix()] for name in TEXTS[stage]]
    return digest_json([texts, {name: value for name, value in config.items() if name != "seed"}])


def _documents(body: Mapping[str, Any]) -> Scores:
    """Losses of documents, so weighted that their mean is that of all tokens, as the metric is."""
    per_document = body["predicted_tokens"] / len(body["documents"])
    return Scores(values={record["doc_id"]: record["nll"] / per_document for record in body["documents"]})


def _items(result: Result, cell: Cell, run: RunSummary, root: Path) -> dict[str, Scored]:
    body, kept = result.body, kept_results(run, BENCHMARKS)
    stated = body["samples"]["blake3"]
    places = (
        kept / f"{cell.name}-{short(stated)}-{SAMPLES}",
        root / ARTIFACTS / BENCHMARKS / cell.path / SAMPLES,
    )
    data = next(
        (found for path in places if path.is_file() and digest_bytes(found := path.read_bytes()) == stated), None
    )
    if data is None:
        raise DataError(
            what=f"{places[0]} is gone or was altered, and the result that speaks of it was not",
            why="tests in pairs are made on the items, which the figures alone do not hold",
            # Of this result alone: those of other weights are kept beside it.
            fix=f"rm {kept / cell.name}-{result.header.run_id}.json, then dvc repro pipelines/pile_ffn/dvc.yaml",
        )
    values: dict[str, dict[str, float]] = {}
    for line in map(json.loads, data.splitlines()):
        of_task = values.setdefault(line["task"], {})
        of_task[f"{line['doc_id']} {line['item']}"] = float(line["metrics"][DEFINITIONS[line["task"]].metric])
    return {
        f"bench/{task}": Scored(asked=body["tasks"][task]["task_hash"], scores=Scores(values=of_task))
        for task, of_task in values.items()
    }
