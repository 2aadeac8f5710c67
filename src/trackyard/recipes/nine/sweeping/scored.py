"""Results of configurations on tasks, from what their stores hold: nothing is put out unless everything is there.

Source: nine-datasets spec sections 4, 8 and 9.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trackyard.evaluate.completeness import errors, require_samples
from trackyard.evaluate.configuration_results import ConfigurationResult, scores, summarise, write_configuration
from trackyard.evaluate.records import Sample
from trackyard.evaluate.scorers.table import METRICS, metric_named
from trackyard.evaluate.store import Store
from trackyard.recipes.nine.sweeping.answering import Cell
from trackyard.sealed import read_sealed, write_sealed

SAMPLES, CONFIG, SHARES = "samples.jsonl", "config.json", "corpus.json"
SCHEMA = "trackyard-corpus-shares/1"


@dataclass(frozen=True, kw_only=True, slots=True)
class Scoring:
    """How a cell is put out. most_failed: questions that may have failed. lineage: digests of what was read."""

    model: str
    device: str
    batch: int
    resamples: int
    most_failed: int = 0
    partial: bool = False
    lineage: Mapping[str, Any]


def put_out(folder: Path, cell: Cell, store: Store[Sample], scoring: Scoring) -> ConfigurationResult:
    """Write samples.jsonl and config.json of a cell below `folder`.

    DataError names the configuration, the task and the first samples that are missing, or failed beyond what may.
    """
    task = cell.asked.task
    found = store.finalise(folder / SAMPLES, partial=scoring.partial)
    samples = [found.records[name] for name in sorted(found.records)]
    tally = require_samples(
        key=cell.key,
        task=task.name,
        expected=cell.asked.ids,
        found=errors(samples),
        again=store.again,
        most_failed=scoring.most_failed,
        partial=scoring.partial,
    )
    single = {name: METRICS[name].binary for name in task.metrics if METRICS[name].corpus is None}
    corpus = {name: _corpus_values(name, samples) for name in task.metrics if name not in single}
    shares = {
        name: dict(zip((sample.id for sample in samples), values.tolist(), strict=True))
        for name, values in corpus.items()
    }
    write_sealed(folder / SHARES, SCHEMA, shares)
    summary = summarise(
        samples,
        binary=single,
        corpus=corpus,
        clusters={sample.id: cell.asked.bare(sample.id).drawn_with for sample in samples},
        resamples=scoring.resamples,
    )
    result = ConfigurationResult(
        key=cell.key,
        model=scoring.model,
        revision=None,
        knobs=cell.configuration,
        realised_visual=summary.realised_visual,
        dataset=task.name,
        split=task.split,
        expected=tally.expected,
        ok=tally.ok,
        failed=tally.failed,
        metric=summary.metric,
        breakdown=_breakdown(cell, samples),
        cap_rate=summary.cap_rate,
        unparsed_rate=summary.unparsed_rate,
        batch_size=scoring.batch,
        device=scoring.device,
        lineage=scoring.lineage,
        watermark=tally.watermark,
    )
    write_configuration(folder / CONFIG, result)
    return result


def values_of(metric: str, folder: Path, samples: Sequence[Sample]) -> NDArray[np.float64]:
    """[samples]: what each answer is worth; of a metric over a corpus what it contributes to its mean.

    folder: where `put_out` wrote them.
    """
    if METRICS[metric].corpus is None:
        return np.array(scores(samples, metric), dtype=np.float64)
    shares = read_sealed(folder / SHARES, SCHEMA, fix="trackyard run nine accuracy")[metric]
    return np.array([shares[sample.id] for sample in samples], dtype=np.float64)


def _corpus_values(metric: str, samples: Sequence[Sample]) -> NDArray[np.float64]:
    corpus = metric_named(metric).corpus
    assert corpus is not None, metric
    return corpus([sample.pred for sample in samples], [sample.references or () for sample in samples])


def _breakdown(cell: Cell, samples: Sequence[Sample]) -> dict[str, tuple[float, int]]:
    """Mean of the plotted metric and number of samples of each group, where the task names one."""
    name, metric = cell.asked.task.breakdown, cell.asked.task.metric
    if name is None or metric_named(metric).corpus is not None:
        return {}
    groups: dict[str, list[float]] = {}
    for sample, score in zip(samples, scores(samples, metric), strict=True):
        groups.setdefault(cell.asked.bare(sample.id).groups.get(name, "-"), []).append(score)
    return {group: (float(np.mean(values)), len(values)) for group, values in sorted(groups.items())}
