"""Losses of a causal language model over documents, by windows with a stride. Source: pile-ffn spec section 7.

Window k of a document of n tokens covers [k*stride, min(k*stride + length, n)) and predicts the positions that no
earlier window predicted, so every token but a document's first is predicted exactly once.
Scoring is in fp32 with TF32 off.

Shapes: B windows of at most L tokens; K positions with logits; V vocabulary rows.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby, islice
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from trackyard.errors import ConfigError, DataError, EnvironmentLacking

LENGTH, STRIDE = 2048, 1024
SORTED = 16
"""Batches of windows that are read ahead and sorted by length, so that few positions are padding."""
PAD = 0
"""Fills windows on the right. Any id of the vocabulary does: a causal model does not see what comes later."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoredText:
    """A document to be scored. ids: tokens [n], with the marks of beginning and end. bytes: of its text in UTF-8."""

    id: str
    component: str
    ids: NDArray[np.int64]
    bytes: int


@dataclass(frozen=True, slots=True)
class Window:
    """Tokens start … stop - 1 of a document; positions `first` … stop - 1 are predicted."""

    start: int
    stop: int
    first: int


@dataclass(frozen=True, kw_only=True, slots=True)
class DocumentScore:
    """nll: sum over the `predicted` tokens, in nats."""

    id: str
    component: str
    nll: float
    predicted: int
    bytes: int
    windows: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Scores:
    """One score per document, in their order. batch: windows at once at the end, fewer if memory did not suffice."""

    documents: tuple[DocumentScore, ...]
    batch: int


def windows(tokens: int, *, length: int, stride: int) -> list[Window]:
    """Windows of a document: one if it fits into `length`, else 1 + ceil((tokens - length) / stride).

    ConfigError unless 1 <= stride < length: with stride = length the first token of a later window would have no
    token before it, and would be left out.
    """
    if not 1 <= stride < length:
        raise ConfigError(
            what=f"a stride of {stride} with windows of {length} tokens",
            why="each window but the first must begin before the first token that it predicts",
            fix=f"set the stride between 1 and {length - 1} in params.yaml",
        )
    count = 1 if tokens <= length else 1 - (length - tokens) // stride
    ends = [min(k * stride + length, tokens) for k in range(count)]
    return [Window(k * stride, end, ends[k - 1] if k else 1) for k, end in enumerate(ends)]


def score_documents(
    model: torch.nn.Module,
    documents: Iterable[ScoredText],
    *,
    length: int = LENGTH,
    stride: int = STRIDE,
    batch: int,
) -> Scores:
    """Score every document of a stream; a few batches of windows are in memory at a time.

    model: a causal model of transformers with weights in fp32. Out of device memory, the batch is halved and the whole
    of it computed again, and EnvironmentLacking raised when a single window does not fit. ConfigError if the model is
    not in fp32 or has fewer than `length` - 1 positions (the last token of a window is not shown); DataError for a
    document without tokens or with a loss that is no number.
    """
    _check(model, length)
    scorer = _Scorer(model, batch)
    found: list[DocumentScore] = []
    with _exact(model):
        # Windows of one document are consecutive in the stream, and a document may go on in the next group of windows.
        scored = _in_groups(scorer, _cut(documents, length=length, stride=stride))
        for _, parts in groupby(scored, key=lambda item: item[0]):
            pieces = list(parts)
            found.append(_document(pieces[0][1], [loss for _, _, _, loss in pieces]))
    return Scores(documents=tuple(found), batch=scorer.batch)


_Cut = tuple[int, ScoredText, Window]
"""A document's number, the document, and a window of it."""


def _cut(documents: Iterable[ScoredText], *, length: int, stride: int) -> Iterator[_Cut]:
    for number, document in enumerate(documents):
        if not document.ids.size:
            raise DataError(
                what=f"document {document.id} has no tokens",
                why="it has no loss, and leaving it out would change what is measured",
                fix="prepare the tokens again: empty documents are dropped and counted there",
            )
        for window in windows(document.ids.size, length=length, stride=stride):
            yield number, document, window


def _in_groups(scorer: _Scorer, cuts: Iterator[_Cut]) -> Iterator[tuple[int, ScoredText, Window, float]]:
    """The cuts in their order, each with the sum of its losses; windows of like length are computed together."""
    while group := list(islice(cuts, SORTED * scorer.batch)):
        order = sorted(range(len(group)), key=lambda at: group[at][2].stop - group[at][2].start, reverse=True)
        sums = dict(zip(order, scorer.sums([group[at] for at in order]), strict=True))
        for at, (number, document, window) in enumerate(group):
            yield number, document, window, sums[at]


def _document(document: ScoredText, losses: Sequence[float]) -> DocumentScore:
    nll = math.fsum(losses)
    if not math.isfinite(nll):
        raise DataError(
            what=f"the loss of document {document.id} is {nll}",
            why="one such document makes the perplexity of the whole set no number",
            fix="verify the export that is scored: its weights may not be finite",
        )
    return DocumentScore(
        id=document.id,
        component=document.component,
        nll=nll,
        predicted=document.ids.size - 1,
        bytes=document.bytes,
        windows=len(losses),
    )


class _Scorer:
    """Sums of losses over windows. batch: windows at once; it only falls."""

    def __init__(self, model: torch.nn.Module, batch: int) -> None:
        self.model, self.batch = model, batch
        self._device = next(model.parameters()).device

    def sums(self, cuts: Sequence[_Cut]) -> list[float]:
        found: list[float] = []
        while len(found) < len(cuts):
            part = cuts[len(found) : len(found) + self.batch]
            # What was out of memory is tried again outside of `except`, where nothing of it is held any more.
            sums = self._tried(part)
            if sums is None:
                self.batch = len(part) // 2
                if self._device.type == "cuda":
                    torch.cuda.empty_cache()
            else:
                found += sums
        return found

    def _tried(self, cuts: Sequence[_Cut]) -> list[float] | None:
        """None if the device has no memory for as many."""
        try:
            return self._losses(cuts)
        except torch.OutOfMemoryError as error:
            if len(cuts) > 1:
                return None
            _, document, window = cuts[0]
            raise EnvironmentLacking(
                what=f"no memory for one window of {window.stop - window.start} tokens (document {document.id}): "
                + " ".join(str(error).split())[:200],
                why="a document that is left out would change what is measured",
                fix="use a device with more memory, or a shorter window for all arms alike (params.yaml)",
            ) from error

    def _losses(self, cuts: Sequence[_Cut]) -> list[float]:
        """Each window runs without its last token, which predicts nothing; logits exist where one of them predicts."""
        width = max(window.stop - window.start - 1 for _, _, window in cuts)
        if not width:
            return [0.0] * len(cuts)
        lowest = min(window.first - 1 - window.start for _, _, window in cuts)
        rows_BL = np.full((len(cuts), width), PAD, dtype=np.int64)
        for row, (_, document, window) in zip(rows_BL, cuts, strict=True):
            row[: window.stop - window.start - 1] = document.ids[window.start : window.stop - 1]
        logits_BKV = self.model(
            input_ids=torch.from_numpy(rows_BL).to(self._device), use_cache=False, logits_to_keep=width - lowest
        ).logits
        sums = []
        for logits_KV, (_, document, window) in zip(logits_BKV, cuts, strict=True):
            targets = torch.from_numpy(document.ids[window.first : window.stop]).to(self._device)
            at = window.first - 1 - window.start - lowest
            losses = F.cross_entropy(logits_KV[at : at + len(targets)], targets, reduction="none")
            sums.append(losses.sum(dtype=torch.float64))
        return [float(value) for value in torch.stack(sums).tolist()]


def _check(model: torch.nn.Module, length: int) -> None:
    wrong = {str(weight.dtype) for weight in model.parameters() if weight.dtype != torch.float32}
    if wrong:
        raise ConfigError(
            what=f"a model with weights in {', '.join(sorted(wrong))}",
            why="all arms are scored in fp32: rounding would be part of the difference between them",
            fix='load the export with dtype="float32"',
        )
    config: Any = model.config
    if config.max_position_embeddings < length - 1:
        raise ConfigError(
            what=f"windows of {length} tokens for a model of {config.max_position_embeddings} positions",
            why="what lies beyond them was never trained, and would count as the model's perplexity",
            fix=f"set the window of the evaluation to {config.max_position_embeddings} in params.yaml",
        )


@contextmanager
def _exact(model: torch.nn.Module) -> Iterator[None]:
    """Without gradients, dropout, autocast and TF32; what was set is set again afterwards."""
    training, precision = model.training, torch.get_float32_matmul_precision()
    device = next(model.parameters()).device.type
    model.eval()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.inference_mode(), torch.autocast(device, enabled=False):
            yield
    finally:
        model.train(training)
        torch.set_float32_matmul_precision(precision)
