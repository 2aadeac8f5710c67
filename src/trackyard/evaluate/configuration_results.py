"""config.json: what was measured of one configuration on one data set. Source: nine-datasets spec section 8."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from pydantic import ConfigDict, TypeAdapter, ValidationError

from trackyard.errors import DataError
from trackyard.evaluate.intervals import RESAMPLES, MetricValue, generator, metric_value
from trackyard.evaluate.records import Count, Sample, Share
from trackyard.evaluate.sweep.configuration import Configuration
from trackyard.sealed import read_sealed, write_sealed

SCHEMA = "trackyard-configuration/1"


@dataclass(frozen=True, kw_only=True, slots=True)
class RealisedVisual:
    """Visual tokens of a question, which the level of the knob only limits."""

    mean: float
    P50: float
    P95: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Summary:
    """Of the samples of one configuration on one data set.

    metric: by name. cap_rate: share of answers that ended at the cap. unparsed_rate: share of answers that no rule
    could read. Both are of the answers that there are.
    """

    metric: Mapping[str, MetricValue]
    realised_visual: RealisedVisual
    cap_rate: Share
    unparsed_rate: Share


@dataclass(frozen=True, kw_only=True, slots=True)
class ConfigurationResult:
    """Raises ValueError if ok + failed are not expected, and no watermark says so.

    revision: of the model where it was published, None for one that was made here. batch_size: answers under way at
    once. lineage: digests of what was read, by name. breakdown: mean of the plotted metric and number of samples, by
    group of questions.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    key: str
    model: str
    revision: str | None
    knobs: Configuration
    realised_visual: RealisedVisual
    dataset: str
    split: str
    expected: Count
    ok: Count
    failed: Count
    metric: Mapping[str, MetricValue]
    cap_rate: Share
    unparsed_rate: Share
    batch_size: Count
    device: str
    lineage: Mapping[str, Any]
    breakdown: Mapping[str, tuple[float, int]] = field(default_factory=dict)
    watermark: str = ""

    def __post_init__(self) -> None:
        if self.ok + self.failed != self.expected and not self.watermark:
            raise ValueError(f"{self.ok} + {self.failed} of {self.expected} samples, and no watermark says so")


def summarise(
    samples: Sequence[Sample],
    *,
    binary: Mapping[str, bool],
    corpus: Mapping[str, ArrayLike] | None = None,
    clusters: Mapping[str, str] | None = None,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Summary:
    """Metrics, tokens and rates of samples that have passed the gate. A sample that failed scores 0.

    binary: the metrics of single answers, and whether all their values are 0 or 1. corpus: what each sample
    contributes to a metric over a corpus, in the order of `samples`. clusters: by id what is drawn together.
    DataError for no sample, or a sample without one of the metrics.
    """
    if not samples:
        raise DataError(
            what="a summary of no samples", why="a mean of nothing is no number", fix="measure the configuration first"
        )
    labels = None if clusters is None else [clusters[sample.id] for sample in samples]
    values: dict[str, ArrayLike] = {name: scores(samples, name) for name in binary}
    values |= corpus or {}
    answered = [sample for sample in samples if not sample.failed]
    visual = np.array([sample.n_visual for sample in answered] or [0])
    p50, p95 = np.percentile(visual, [50, 95])
    return Summary(
        metric={
            name: metric_value(
                each,
                labels,
                binary=binary.get(name, False),
                rng=generator(seed, samples[0].dataset, samples[0].split, name),
                resamples=resamples,
            )
            for name, each in values.items()
        },
        realised_visual=RealisedVisual(mean=float(visual.mean()), P50=float(p50), P95=float(p95)),
        cap_rate=sum(sample.hit_cap for sample in answered) / max(1, len(answered)),
        unparsed_rate=sum(sample.parsed is None for sample in answered) / max(1, len(answered)),
    )


def scores(samples: Sequence[Sample], metric: str) -> list[float]:
    """A metric of each sample; one that failed has 0. DataError for an answer that was not scored by it."""
    found = []
    for sample in samples:
        if not sample.failed and metric not in sample.score:
            raise DataError(
                what=f"{sample.id} has no {metric}; it has {', '.join(sample.score) or 'no scores'}",
                why="a mean over the others would be of another set",
                fix="score the answers again with the metrics of the task: move their folder away, and run the stage",
            )
        found.append(0.0 if sample.failed else sample.score[metric])
    return found


_RESULT: TypeAdapter[ConfigurationResult] = TypeAdapter(ConfigurationResult)


def write_configuration(path: Path, result: ConfigurationResult) -> None:
    """Write config.json."""
    write_sealed(path, SCHEMA, asdict(result))


def read_configuration(path: Path, *, fix: str) -> ConfigurationResult:
    """DataError if the file is absent, was altered, or lacks a part."""
    body = read_sealed(path, SCHEMA, fix=fix)
    try:
        return _RESULT.validate_python(body)
    except ValidationError as error:
        raise DataError(
            what=f"{path} is no result of a configuration: {error}", why="it lacks or misstates a part", fix=fix
        ) from error
