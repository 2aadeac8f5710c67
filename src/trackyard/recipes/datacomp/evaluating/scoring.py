"""From what a model said of each item to the body of a result: one form for all sets.

There is no fallback answer: options that tie, and text that says nothing or two things, are no answer, which is wrong
and counted apart. Source: theworld spec sections 12.2, 12.3, 12.5 and 13.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np

from trackyard.digest import digest_json
from trackyard.errors import DataError
from trackyard.evaluate.statistics import Interval, bootstrap_mean
from trackyard.evaluate.stratified import bootstrap_macro
from trackyard.recipes.datacomp.evaluating.items import Item


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What a model said of an item. logliks: of each option in nats, empty if none were asked for; tokens: of each.

    text: what it generated, None if it was not asked to; length: of that, in tokens.
    """

    logliks: tuple[float, ...] = ()
    tokens: tuple[int, ...] = ()
    text: str | None = None
    length: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """What became of an item. pred: as its set writes predictions, None where no answer can be said.

    said: further facts of the item, by name, as a set defines them.
    """

    id: str
    task: str
    gold: str
    pred: str | None
    correct: bool
    loglik: Mapping[str, float] = field(default_factory=dict)
    text: str | None = None
    length: int | None = None
    said: Mapping[str, float | bool | str | None] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "task": self.task,
            "gold": self.gold,
            "pred": self.pred,
            "correct": self.correct,
            "loglik": dict(self.loglik),
            "text": self.text,
            "length": self.length,
        } | dict(self.said)


class EvalSet(Protocol):
    """How items of one set are asked and scored."""

    @property
    def name(self) -> str: ...

    @property
    def generates(self) -> Literal["short", "long"] | None:
        """Length of generated answers; None where none is asked for."""
        ...

    @property
    def compares(self) -> bool:
        """Whether the likelihood of each option is asked for."""
        ...

    @property
    def ends(self) -> bool:
        """Whether the end of its turn belongs to an option, as where it is a whole caption."""
        ...

    def problem(self, item: Item) -> str | None:
        """Why an item cannot be scored, if so; a gold answer that would not score counts as such."""
        ...

    def record(self, item: Item, answer: Answer) -> Record: ...

    def figures(self, records: Sequence[Record]) -> dict[str, Any]:
        """What the set reports besides what all sets do."""
        ...


def likeliest(item: Item, answer: Answer) -> str | None:
    """The option of the highest likelihood, None if two share it. DataError for a likelihood that is no number."""
    if len(answer.logliks) != len(item.options) or not np.isfinite(answer.logliks).all():
        raise DataError(
            what=f"likelihoods {list(answer.logliks)} of item {item.id!r}, which has {len(item.options)} options",
            why="an option without a likelihood cannot be compared with the others",
            fix="look at the export: its weights, or what they were trained on, are not finite",
        )
    best = max(answer.logliks)
    chosen = [option for option, value in zip(item.options, answer.logliks, strict=True) if value == best]
    return chosen[0] if len(chosen) == 1 else None


def logliks_by_option(item: Item, answer: Answer) -> dict[str, float]:
    return dict(zip(item.options, answer.logliks, strict=True))


def body_of(of: EvalSet, records: Sequence[Record], *, resamples: int, most_empty: float) -> dict[str, Any]:
    """Body of a result. Intervals of a set are over the same resamples for every arm.

    DataError where more generated answers are empty than `most_empty` allows.
    """
    generated = [record.text for record in records if record.text is not None]
    empty = sum(not text.strip() for text in generated)
    if empty > most_empty * len(generated):
        raise DataError(
            what=f"{empty} of {len(generated)} generated answers of {of.name} are empty ({empty / len(generated):.1%})",
            why=f"at most {most_empty:.1%} may be: a model that says nothing was not asked rightly, or is broken",
            fix="look at the prompts and the stop tokens (feed/world_prompts.py) and at the export; "
            "datacomp.evaluation.most_empty in params.yaml is the limit",
        )
    by_task: dict[str, list[float]] = defaultdict(list)
    for record in records:
        by_task[record.task].append(float(record.correct))
    accuracies = {task: float(np.mean(values)) for task, values in sorted(by_task.items())}
    rng = _generator(of.name)
    return {
        "n": len(records),
        "accuracy": float(np.mean([record.correct for record in records])),
        "macro": float(np.mean(list(accuracies.values()))),
        "by_task": {task: {"n": len(by_task[task]), "accuracy": value} for task, value in accuracies.items()},
        "ci95": {
            "accuracy": _ends(
                bootstrap_mean([float(record.correct) for record in records], rng=rng, resamples=resamples)
            ),
            "macro": _ends(bootstrap_macro(by_task, rng=rng, resamples=resamples)),
        },
        "generated": len(generated),
        "empty_rate": empty / len(generated) if generated else None,
        "unparsed_rate": sum(record.pred is None for record in records) / len(records),
        "mean_length": _mean([record.length for record in records if record.length is not None]),
        # The first exception ends the stage (section 12.2): a result exists only where there was none.
        "errors": 0,
        "predictions_digest": predictions_digest(records),
        "answers_digest": answers_digest(records),
        "records": [record.to_json() for record in records],
    } | of.figures(records)


def predictions_digest(records: Sequence[Record]) -> str:
    """Over answers, generated text and likelihoods to the last bit: equal for one model asked twice, and for no two.

    This is what the collision rule (section 6) compares: choices alone coincide where two models are good, or bad.
    """
    return digest_json(
        [
            [record.id, record.pred, record.text, {name: value.hex() for name, value in record.loglik.items()}]
            for record in records
        ]
    )


def answers_digest(records: Sequence[Record]) -> str:
    """Over answers and generated text only."""
    return digest_json([[record.id, record.pred, record.text] for record in records])


def share(flags: Sequence[bool]) -> float | None:
    """Of True; None of nothing."""
    return sum(flags) / len(flags) if flags else None


def _mean(values: Sequence[int]) -> float | None:
    return float(np.mean(values)) if values else None


def _ends(interval: Interval) -> list[float]:
    return [interval.low, interval.high]


def _generator(name: str) -> np.random.Generator:
    return np.random.default_rng(int(digest_json(["intervals", name])[:32], 16))
