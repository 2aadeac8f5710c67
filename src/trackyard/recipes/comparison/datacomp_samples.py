"""Samples of a run of the latents study: which items each arm that uses its weights answers rightly.

The arm that a run is trained for has no name in its metrics, so that a run of the world branch and one of the soft
prompt are compared; controls that use the same weights (zero latents, shuffled ones) keep theirs. Every item counts
alike: where a set is reported as a mean over tasks, the difference here is that of items.
"""

from __future__ import annotations

from pathlib import Path

from trackyard.evaluate.model_comparison import Scores
from trackyard.recipes.comparison.own_results import kept_results, own_result, weights_of
from trackyard.recipes.comparison.samples import Samples, Scored
from trackyard.recipes.datacomp.cells import ARMS, Cell
from trackyard.recipes.datacomp.results import DOCUMENT, Result, read_result
from trackyard.recipes.datacomp.study import ARTIFACTS, EVALUATIONS
from trackyard.record.comparing.summary import RunSummary


def datacomp_samples(run: RunSummary, root: Path) -> Samples:
    """DataError for a result that was altered."""
    if run.stage != "train":
        return Samples(lacks=(f"no samples are stored of the stage {run.stage}",))
    weights = weights_of(run.path / "final")
    if not weights:
        return Samples(lacks=(f"its weights are not in {run.path / 'final'}, so no result can be told to be of it",))
    name = str(run.spec["parameters"]["run"])
    found, lacks = {}, []
    for arm in ARMS.values():
        if arm.run != name:
            continue
        for of, evaluation in EVALUATIONS.items():
            result = _result(evaluation, Cell(name=arm.name, seed=run.seed), weights, run, root)
            if result is None:
                lacks.append(f"no {evaluation} of the arm {arm.name} was measured on its weights")
                continue
            rights = {record["id"]: float(record["correct"]) for record in result.body["records"]}
            found[f"eval/{of}/accuracy" if arm.name == name else f"eval/{arm.name}/{of}/accuracy"] = Scored(
                asked=result.header.inputs[_items(of)], scores=Scores(values=rights)
            )
    return Samples(scores=found, lacks=tuple(lacks))


def _result(evaluation: str, cell: Cell, weights: frozenset[str], run: RunSummary, root: Path) -> Result | None:
    return own_result(
        weights,
        root / ARTIFACTS / evaluation / cell.path / DOCUMENT,
        kept_results(run, evaluation),
        cell.label,
        read=lambda path: read_result(path, evaluation),
        of_cell=lambda header: (header.cell, header.seed) == (cell.name, cell.seed),
    )


def _items(of: str) -> str:
    """The table of a set's items, as results name it among what they read."""
    return (ARTIFACTS / "eval_data" / of / "items.parquet").as_posix()
