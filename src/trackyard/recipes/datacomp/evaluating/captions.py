"""Captions: how surprised the model is by the right one, and whether it prefers it to those with another relation.

Source: theworld spec section 12 (caption metrics); issue on the DataComp track (mini).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trackyard.recipes.datacomp.evaluating.items import Item
from trackyard.recipes.datacomp.evaluating.scoring import Answer, Record, likeliest, logliks_by_option


@dataclass(frozen=True)
class Captions:
    name: str = "captions"
    generates: None = None
    compares: bool = True
    ends: bool = True

    def problem(self, item: Item) -> str | None:
        if len(set(item.options)) != len(item.options) or len(item.options) < 2:
            return f"options {list(item.options)}: at least two, and all different"
        return None if item.gold in item.options else f"gold caption {item.gold!r} is not among its options"

    def record(self, item: Item, answer: Answer) -> Record:
        """Captions are compared by the sum over their tokens: what the model believes of each as a whole."""
        pred = likeliest(item, answer)
        gold = item.options.index(item.gold)
        return Record(
            id=item.id,
            task=item.task,
            gold=item.gold,
            pred=pred,
            correct=pred == item.gold,
            loglik=logliks_by_option(item, answer),
            said={"gold_tokens": answer.tokens[gold]},
        )

    def figures(self, records: Sequence[Record]) -> dict[str, Any]:
        """nll_per_token: nats over all tokens of all gold captions, with the end of each."""
        nats = -float(np.sum([record.loglik[record.gold] for record in records]))
        tokens = sum(int(str(record.said["gold_tokens"])) for record in records)
        return {
            "nll_per_token": nats / tokens,
            "gold_tokens": tokens,
            "chance": float(np.mean([1 / len(record.loglik) for record in records])),
        }
