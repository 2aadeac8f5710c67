"""VSR: whether "True" or "False" is the likelier answer to a statement. Source: theworld spec section 12.1."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from trackyard.recipes.datacomp.evaluating.items import Item
from trackyard.recipes.datacomp.evaluating.scoring import Answer, Record, likeliest, logliks_by_option

TRUE, FALSE = "True", "False"
COUNTS = {"random": 2195, "zeroshot": 616}
"""Items of each split's test part."""


@dataclass(frozen=True)
class Vsr:
    name: str = "vsr"
    generates: None = None
    compares: bool = True
    ends: bool = False

    def problem(self, item: Item) -> str | None:
        if item.options != (TRUE, FALSE):
            return f"options {list(item.options)}, not {TRUE} and {FALSE}"
        return None if item.gold in item.options else f"gold answer {item.gold!r}"

    def record(self, item: Item, answer: Answer) -> Record:
        pred = likeliest(item, answer)
        return Record(
            id=item.id,
            task=item.task,
            gold=item.gold,
            pred=pred,
            correct=pred == item.gold,
            loglik=logliks_by_option(item, answer),
        )

    def figures(self, records: Sequence[Record]) -> dict[str, Any]:
        """f1: of True. positive_rate: how often the model says True. majority: what one constant answer would score."""
        hits = sum(record.pred == TRUE and record.gold == TRUE for record in records)
        said, true = (sum(side == TRUE for side in sides) for sides in zip(*_sides(records), strict=True))
        golds = Counter(record.gold for record in records)
        return {
            "f1": 2 * hits / (said + true) if said + true else 0.0,
            "positive_rate": said / len(records),
            "majority": {
                "answer": max(sorted(golds), key=golds.__getitem__),
                "accuracy": max(golds.values()) / len(records),
            },
        }


def _sides(records: Sequence[Record]) -> list[tuple[str | None, str]]:
    return [(record.pred, record.gold) for record in records]
