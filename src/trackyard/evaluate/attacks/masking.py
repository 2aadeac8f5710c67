"""Attacks beside their controls: do gradients help, or do they mislead? Source: pile-ffn spec section 8.2."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from trackyard.errors import DataError
from trackyard.evaluate.attacks.outcome import Attack, AttackRecord, AttackResult


def averaged(results: Sequence[AttackResult]) -> AttackResult:
    """Several triggers on the same documents as one: the mean over them per document, and no tokens of its own."""
    first = results[0]
    return AttackResult(
        attack=first.attack,
        pool_digest=first.pool_digest,
        records=tuple(
            AttackRecord(
                doc_id=records[0].doc_id,
                clean=records[0].clean,
                attacked=statistics.fmean(record.attacked for record in records),
                delta=statistics.fmean(record.delta for record in records),
                positions=records[0].positions,
                ids=(),
            )
            for records in zip(*(result.records for result in results), strict=True)
        ),
    )


def gradient_masking_suspected(gradient: AttackResult, *controls: AttackResult) -> bool:
    """Whether an attack that follows gradients does less, on the same documents, than one that does not.

    Several controls of one kind (random triggers) count as their mean; kinds count each for itself. Then the gradients
    of this arm mislead, and its resistance to gradient attacks is no robustness.
    """
    mine = {record.doc_id: record.delta for record in gradient.records}
    found: dict[Attack, list[tuple[float, float]]] = {}
    for control in controls:
        pairs = [(mine[record.doc_id], record.delta) for record in control.records if record.doc_id in mine]
        found.setdefault(control.attack, []).extend(pairs)
    for attack, pairs in found.items():
        if not pairs:
            raise DataError(
                what=f"{gradient.attack} and {attack} have no document in common",
                why="whether gradients help is judged on the same documents",
                fix="run both attacks on documents of the same list, from its beginning",
            )
    return any(statistics.fmean(ours - theirs for ours, theirs in pairs) < 0 for pairs in found.values())
