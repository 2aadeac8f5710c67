"""What an attack found, document by document, and what is reported of it. Source: pile-ffn spec sections 8.1 and 10.

Shapes: N documents of T tokens.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch

from trackyard.errors import ConfigError, DataError
from trackyard.evaluate.attacks.metric import aligned, counted_targets, delta_nats, mean_loss
from trackyard.evaluate.attacks.scoring import Scorer

Attack = Literal["uat", "hotflip_one_shot", "hotflip_greedy", "random_flips", "random_trigger", "query"]
SUCCESS_NATS = (0.05, 0.1, 0.25, 0.5, 1.0)


@dataclass(frozen=True, kw_only=True, eq=False)
class Documents:
    """Documents under attack: ids [N, T] int64 and a doc_id each; all have one length, so that it is no confounder."""

    doc_ids: tuple[str, ...]
    ids_NT: torch.Tensor

    @classmethod
    def of(cls, documents: Mapping[str, Sequence[int]]) -> Documents:
        """Documents by doc_id, in this order; ConfigError unless all have the same number of tokens, at least two."""
        lengths = {len(ids) for ids in documents.values()}
        if len(lengths) != 1 or min(lengths) < 2:
            raise ConfigError(
                what=f"{len(documents)} documents of {', '.join(map(str, sorted(lengths))) or 'no'} tokens to attack",
                why="the same number of flips hurts a short document more",
                fix="choose documents of at least 512 tokens and cut each to exactly 512",
            )
        return cls(doc_ids=tuple(documents), ids_NT=torch.tensor(list(documents.values()), dtype=torch.int64))

    def first(self, count: int, *, flips: int = 0) -> Documents:
        """The first `count`; ConfigError where there are fewer, or where `flips` would leave no target to measure."""
        length = self.ids_NT.shape[1]
        if flips > length - 2:
            raise ConfigError(
                what=f"{flips} flips in documents of {length} tokens",
                why="the loss is measured on tokens that were not flipped, and the last one affects none",
                fix="attack longer documents, or lower `flips` in the attack budget",
            )
        if count > len(self.doc_ids):
            raise ConfigError(
                what=f"{len(self.doc_ids)} documents where the budget asks for {count}",
                why="fewer documents than declared make wider intervals than planned",
                fix="hold out more documents, or lower the number in the attack budget",
            )
        return Documents(doc_ids=self.doc_ids[:count], ids_NT=self.ids_NT[:count])


@dataclass(frozen=True, kw_only=True, slots=True)
class AttackRecord:
    """One document. clean, attacked: mean loss over S in nats per token; delta: its rise.

    positions: A, among the attacked tokens; ids: what stands there now.
    """

    doc_id: str
    clean: float
    attacked: float
    delta: float
    positions: tuple[int, ...]
    ids: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class AttackResult:
    """An attack on a set of documents. trigger_ids: what was put before each; None for flips."""

    attack: Attack
    pool_digest: str
    records: tuple[AttackRecord, ...]
    trigger_ids: tuple[int, ...] | None = None

    @property
    def deltas(self) -> list[float]:
        """Delta of every document in nats per token, for intervals and paired tests."""
        return [record.delta for record in self.records]

    @property
    def mean_delta_nats(self) -> float:
        """The primary endpoint."""
        return statistics.fmean(self.deltas)

    def success(self, tau: float) -> list[bool]:
        """Whether each document lost at least `tau` nats per token, for McNemar's test."""
        return [delta >= tau for delta in self.deltas]

    def body(self) -> dict[str, Any]:
        """What the stage's file says of it, without configuration and interval."""
        clean = statistics.fmean(record.clean for record in self.records)
        attacked = statistics.fmean(record.attacked for record in self.records)
        return {
            "attack": self.attack,
            "pool_digest": self.pool_digest,
            "n": len(self.records),
            "mean_delta_nats": self.mean_delta_nats,
            "median": statistics.median(self.deltas),
            "success": {str(tau): statistics.fmean(self.success(tau)) for tau in SUCCESS_NATS},
            "delta_ppl": math.exp(attacked) - math.exp(clean),
            "relative_not_primary": self.mean_delta_nats / clean if clean else 0.0,
            "records": [
                asdict(record) | {"positions": list(record.positions), "ids": list(record.ids)}
                for record in self.records
            ],
            "trigger_ids": None if self.trigger_ids is None else list(self.trigger_ids),
        }


def flipped(
    attack: Attack, scorer: Scorer, documents: Documents, attacked_NT: torch.Tensor, *, pool_digest: str
) -> AttackResult:
    """The outcome of flips, scored in fp32. A flip to the token that was there is no flip."""
    changed_NT = attacked_NT.cpu() != documents.ids_NT
    return AttackResult(
        attack=attack,
        pool_digest=pool_digest,
        records=_records(
            scorer, documents, attacked_NT.cpu(), [row.nonzero()[:, 0].tolist() for row in changed_NT], inserted=0
        ),
    )


def triggered(
    attack: Attack, scorer: Scorer, documents: Documents, trigger: Sequence[int], *, pool_digest: str
) -> AttackResult:
    """The outcome of a prefix before every document, scored in fp32."""
    positions = [list(range(len(trigger)))] * len(documents.doc_ids)
    records = _records(scorer, documents, with_prefix(trigger, documents.ids_NT), positions, inserted=len(trigger))
    return AttackResult(attack=attack, pool_digest=pool_digest, records=records, trigger_ids=tuple(trigger))


def with_prefix(trigger: Sequence[int], ids_NT: torch.Tensor) -> torch.Tensor:
    """The trigger before every document [N, m + T]."""
    prefix = torch.tensor(list(trigger), dtype=torch.int64, device=ids_NT.device)
    return torch.cat([prefix.expand(len(ids_NT), -1), ids_NT], dim=1)


def _records(
    scorer: Scorer,
    documents: Documents,
    attacked_NT: torch.Tensor,
    positions: Sequence[Sequence[int]],
    *,
    inserted: int,
) -> tuple[AttackRecord, ...]:
    counted_NT = counted_targets(documents.ids_NT, attacked_NT, inserted=inserted).to(scorer.device)
    clean_NT = aligned(scorer.exact(documents.ids_NT), inserted=inserted)
    found_NT = scorer.exact(attacked_NT)
    columns = zip(
        documents.doc_ids,
        mean_loss(clean_NT, counted_NT).tolist(),
        mean_loss(found_NT, counted_NT).tolist(),
        delta_nats(clean_NT, found_NT, counted_NT).tolist(),
        positions,
        attacked_NT,
        strict=True,
    )
    return tuple(
        AttackRecord(
            doc_id=doc_id,
            clean=clean,
            attacked=attacked,
            delta=delta,
            positions=tuple(places),
            ids=tuple(ids_T[list(places)].tolist()),
        )
        for doc_id, clean, attacked, delta, places, ids_T in columns
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
