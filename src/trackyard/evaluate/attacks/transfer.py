"""Whether what was crafted on one arm hurts another: every attack replayed on every arm. Pile-ffn spec section 8.2."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from trackyard.errors import ConfigError
from trackyard.evaluate.attacks.outcome import AttackResult, Documents, flipped, triggered
from trackyard.evaluate.attacks.scoring import Scorer


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """cells: source arm -> target arm -> the source's attack on the target.

    diagonal_max_abs_diff: nats per token between a replay on the arm it was crafted on and the attack itself.
    """

    cells: Mapping[str, Mapping[str, AttackResult]]
    diagonal_max_abs_diff: float


def transfer(
    crafted: Mapping[str, AttackResult], arms: Mapping[str, Callable[[], Scorer]], documents: Documents
) -> Transfer:
    """Replay forward only. crafted: by source arm; arms: loads one, called once each, so that one is in memory.

    documents: those that were attacked, and perhaps more.
    """
    chosen = {source: _documents(source, result, documents) for source, result in crafted.items()}
    cells: dict[str, dict[str, AttackResult]] = {source: {} for source in crafted}
    worst = 0.0
    for target, load in arms.items():
        scorer = load()
        for source, result in crafted.items():
            again = replay(result, scorer, chosen[source])
            cells[source][target] = again
            if source == target:
                differences = zip(again.deltas, result.deltas, strict=True)
                worst = max(worst, *(abs(here - there) for here, there in differences))
    return Transfer(cells=cells, diagonal_max_abs_diff=worst)


def replay(result: AttackResult, scorer: Scorer, documents: Documents) -> AttackResult:
    """The same tokens at the same places of the same documents, under another model."""
    if result.trigger_ids is not None:
        return triggered(result.attack, scorer, documents, result.trigger_ids, pool_digest=result.pool_digest)
    attacked_NT = documents.ids_NT.clone()
    for ids_T, record in zip(attacked_NT, result.records, strict=True):
        ids_T[list(record.positions)] = ids_T.new_tensor(record.ids)
    return flipped(result.attack, scorer, documents, attacked_NT, pool_digest=result.pool_digest)


def _documents(source: str, result: AttackResult, documents: Documents) -> Documents:
    """The documents of the records, in their order; ConfigError if one is not there."""
    row = {doc_id: number for number, doc_id in enumerate(documents.doc_ids)}
    missing = [record.doc_id for record in result.records if record.doc_id not in row]
    if missing:
        raise ConfigError(
            what=f"{result.attack} on {source} attacked {len(missing)} documents that are not here, as {missing[0]!r}",
            why="an attack is replayed on the documents it was crafted on",
            fix="give the held-out documents that all arms were attacked on",
        )
    rows = [row[record.doc_id] for record in result.records]
    return Documents(doc_ids=tuple(documents.doc_ids[number] for number in rows), ids_NT=documents.ids_NT[rows])
