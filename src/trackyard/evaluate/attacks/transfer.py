"""Whether what was crafted on one arm hurts another: every attack replayed on every arm. Pile-ffn spec section 8.2."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from trackyard.errors import ConfigError
from trackyard.evaluate.attacks.outcome import Attack, AttackResult, Documents, flipped, triggered
from trackyard.evaluate.attacks.scoring import Scorer

Crafted = Mapping[str, Mapping[Attack, AttackResult]]
"""Source arm -> attack -> what was found there."""


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """cells: source arm -> target arm -> attack -> the source's attack on the target.

    diagonal: for every (arm, attack) that was replayed on the arm it was crafted on, the largest difference between the
    replay and the attack itself over all documents, in nats per token.
    """

    cells: Mapping[str, Mapping[str, Mapping[Attack, AttackResult]]]
    diagonal: Mapping[tuple[str, Attack], float]

    @property
    def diagonal_max_abs_diff(self) -> float:
        return max(self.diagonal.values())


def transfer(crafted: Crafted, arms: Mapping[str, Callable[[], Scorer]], documents: Documents) -> Transfer:
    """Replay forward only. arms: loads one, called once each; the one before is let go first.

    documents: those that were attacked, and perhaps more. ConfigError for a source that is not among the arms: nothing
    would show that its replays are faithful.
    """
    lone = [source for source in crafted if source not in arms]
    if lone or not crafted:
        raise ConfigError(
            what=f"attacks of {', '.join(lone) or 'no arm'} are to be replayed on {', '.join(arms) or 'no arm'}",
            why="a replay on the arm that an attack was crafted on is what proves that replays are the attack",
            fix="attack and replay on the same arms",
        )
    chosen = {
        (source, attack): _documents(source, result, documents)
        for source, results in crafted.items()
        for attack, result in results.items()
    }
    cells: dict[str, dict[str, dict[Attack, AttackResult]]] = {source: {} for source in crafted}
    diagonal: dict[tuple[str, Attack], float] = {}
    for target, load in arms.items():
        replay = _Replay(load())
        for source, results in crafted.items():
            found = {attack: replay(result, chosen[source, attack]) for attack, result in results.items()}
            cells[source][target] = found
            if source == target:
                for attack, result in results.items():
                    pairs = zip(found[attack].deltas, result.deltas, strict=True)
                    diagonal[source, attack] = max(abs(here - there) for here, there in pairs)
        del replay
    return Transfer(cells=cells, diagonal=diagonal)


class _Replay:
    """The same tokens at the same places of the same documents, under another model."""

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer
        self._clean: dict[tuple[str, ...], torch.Tensor] = {}

    def __call__(self, result: AttackResult, documents: Documents) -> AttackResult:
        if documents.doc_ids not in self._clean:
            self._clean[documents.doc_ids] = self._scorer.exact(documents.ids_NT)
        clean_NT, digest = self._clean[documents.doc_ids], result.pool_digest
        if result.trigger_ids is not None:
            trigger = result.trigger_ids
            return triggered(result.attack, self._scorer, documents, trigger, pool_digest=digest, clean_NT=clean_NT)
        attacked_NT = documents.ids_NT.clone()
        for ids_T, record in zip(attacked_NT, result.records, strict=True):
            ids_T[list(record.positions)] = ids_T.new_tensor(record.ids)
        return flipped(result.attack, self._scorer, documents, attacked_NT, pool_digest=digest, clean_NT=clean_NT)


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
