"""Perplexity over documents, whole and by component. Source: pile-ffn spec section 7.

NLL = sum of losses / sum of (n - 1) over all documents, so that a long document weighs more than a short one; a mean of
means per document would be another number. The losses come from `trackyard.evaluate.document_scores`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from trackyard.errors import DataError
from trackyard.evaluate.document_scores import DocumentScore
from trackyard.evaluate.statistics import RESAMPLES, Interval, bootstrap_ratio

LARGEST = 700
"""Nats whose exponential is still a number."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Perplexity:
    """nll: nats per predicted token; ppl = exp(nll); bpb: bits per byte of text, comparable between tokenizers.

    ci95: of nll, over documents with something to predict, None for a single one; exp of its ends is that of ppl.
    """

    nll: float
    ppl: float
    bpb: float
    predicted_tokens: int
    docs: int
    windows: int
    ci95: Interval | None


def summarise(
    documents: Sequence[DocumentScore], *, rng: np.random.Generator, resamples: int = RESAMPLES
) -> Perplexity:
    """Perplexity over documents. DataError if they hold nothing to predict, or exp(nll) is beyond all numbers."""
    predicted, nll = sum(score.predicted for score in documents), math.fsum(score.nll for score in documents)
    if not predicted:
        raise DataError(
            what=f"perplexity over {len(documents)} documents with nothing to predict",
            why="nothing was examined, so nothing is known",
            fix="name a held-out split with documents of two tokens or more in params.yaml",
        )
    if nll / predicted > LARGEST:
        raise DataError(
            what=f"a loss of {nll / predicted:.1f} nats per token",
            why=f"perplexity is its exponential, which no number holds above {LARGEST}",
            fix="verify the export that is scored: a model that knows nothing has about 11 nats",
        )
    counted = [score for score in documents if score.predicted]
    ci95 = None
    if len(counted) > 1:
        sums = ([score.nll for score in counted], [score.predicted for score in counted])
        ci95 = bootstrap_ratio(*sums, rng=rng, resamples=resamples)
    return Perplexity(
        nll=nll / predicted,
        ppl=math.exp(nll / predicted),
        bpb=nll / (math.log(2) * sum(score.bytes for score in documents)),
        predicted_tokens=predicted,
        docs=len(documents),
        windows=sum(score.windows for score in documents),
        ci95=ci95,
    )


def by_component(
    documents: Sequence[DocumentScore], *, rng: np.random.Generator, resamples: int = RESAMPLES
) -> Mapping[str, Perplexity]:
    """Perplexity of each component, by name. DataError as `summarise`."""
    parts: dict[str, list[DocumentScore]] = {}
    for score in documents:
        parts.setdefault(score.component, []).append(score)
    return {name: summarise(parts[name], rng=rng, resamples=resamples) for name in sorted(parts)}
