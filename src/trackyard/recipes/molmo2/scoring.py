"""Validation of a stage: loss over packed validation rows, and the three scores. Source: molmo2 spec section 14."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from trackyard.errors import DataError
from trackyard.evaluate.generation import generate
from trackyard.evaluate.validation import METRICS, SCORERS, Metric, Question, Score, questions
from trackyard.feed.batch import collate, stack_packs
from trackyard.feed.layout import FeedParameters
from trackyard.feed.sample import build_prompt, build_sample
from trackyard.feed.tokens import TokenTable
from trackyard.plan.packing import first_fit_decreasing
from trackyard.progress import track
from trackyard.recipes.molmo2.forward import forward
from trackyard.recipes.molmo2.parameters import ValidationParameters
from trackyard.recipes.molmo2.prepare import Prepared, index_of
from trackyard.snapshot.reader import SnapshotDataset, open_snapshot

LOSS_ROWS = 32
"""Validation rows per dataset that the validation loss is over."""
LOSS_PACKS = 8
"""Packs per forward pass."""


@dataclass(frozen=True, kw_only=True)
class Validation:
    """loss: weighted as in training; loss_rows: rows it is over; scores: by metric, those that are measured."""

    loss: float
    loss_rows: int
    scores: dict[Metric, Score]

    def to_json(self) -> dict[str, Any]:
        """Plain values, for result.json."""
        return asdict(self)

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Validation:
        """Back from `to_json`."""
        scores = {metric: Score(**body["scores"][metric]) for metric in METRICS if metric in body["scores"]}
        return cls(loss=body["loss"], loss_rows=body["loss_rows"], scores=scores)


def validate(model: torch.nn.Module, prepared: Prepared) -> Validation:
    """Score a model of this stage on the snapshot's validation splits."""
    parameters = prepared.parameters
    snapshot = open_snapshot(prepared.root / parameters.snapshot, None)
    feed = parameters.feed(prepared.stage, evaluation=True)
    tokens = prepared.start.tokens
    model.eval()
    loss, rows = validation_loss(model, prepared, feed)
    scores: dict[Metric, Score] = {}
    for metric in parameters.validation.datasets:
        items = _questions(parameters.validation, metric, snapshot)
        answers = _answers(model, items, feed, tokens, parameters.validation, metric)
        scores[metric] = SCORERS[metric](items, answers)
    model.train()
    return Validation(loss=loss, loss_rows=rows, scores=scores)


def _questions(
    parameters: ValidationParameters, metric: Metric, snapshot: Mapping[str, SnapshotDataset]
) -> list[Question]:
    items = []
    for name in parameters.datasets[metric]:
        dataset = snapshot.get(name)
        if dataset is None or "validation" not in dataset.splits:
            raise DataError(
                what=f"{name} has no validation split in the snapshot",
                why=f"{metric} is scored on it",
                fix="`dvc pull data.dvc`, or change molmo2.validation.datasets in params.yaml",
            )
        items += questions(name, dataset.iterate("validation"), parameters.limit)
    return items


def _answers(
    model: torch.nn.Module,
    items: list[Question],
    feed: FeedParameters,
    tokens: TokenTable,
    parameters: ValidationParameters,
    metric: Metric,
) -> list[str]:
    """Answers in the order of `items`; prompts of similar length share a batch."""
    prompts = [build_prompt(item.row, item.branch, item.dataset, feed, tokens) for item in items]
    order = np.argsort([len(prompt.tree) for prompt in prompts], kind="stable")
    answers = [""] * len(items)
    starts = range(0, len(order), parameters.batch)
    for at in track(starts, label=f"validation: {metric}", total=len(starts)):
        chosen = order[at : at + parameters.batch]
        texts = generate(
            model,
            [prompts[number] for number in chosen],
            tokens,
            feed.geometry,
            max_new_tokens=parameters.new_tokens[metric],
        )
        for number, text in zip(chosen, texts, strict=True):
            answers[number] = text
    return answers


@torch.inference_mode()
def validation_loss(model: torch.nn.Module, prepared: Prepared, feed: FeedParameters) -> tuple[float, int]:
    """Weighted loss over the first rows of each validation split of the mixture, and the number of rows."""
    tokens, budget = prepared.start.tokens, prepared.plan.budget
    samples = []
    for name, dataset in prepared.datasets.items():
        if "validation" in dataset.splits:
            usable = index_of(dataset, "validation", feed, tokens, prepared.root).usable[:LOSS_ROWS]
            samples += [build_sample(dataset.row("validation", int(row)), name, feed, tokens) for row in usable]
    if not samples:
        raise DataError(
            what="no dataset of the mixture has a usable validation row",
            why="the validation loss would be over nothing",
            fix="`dvc pull data.dvc`, or import a dataset with a validation split",
        )
    bins = first_fit_decreasing(
        [len(sample.tree) for sample in samples],
        [sample.inputs for sample in samples],
        budget=budget,
    )
    packs = [
        collate([samples[i] for i in members], length=budget.tokens, pad=tokens.pad, geometry=feed.geometry)
        for members in bins
    ]
    total = weight = 0.0
    for at in range(0, len(packs), LOSS_PACKS):
        batch = stack_packs(packs[at : at + LOSS_PACKS], geometry=feed.geometry)
        total += float(forward(model, batch).total)
        weight += float(batch.weights.sum(dtype=np.float64))
    return total / weight, len(samples)
