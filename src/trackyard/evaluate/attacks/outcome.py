"""What an attack found, document by document, and what is reported of it. Source: pile-ffn spec sections 8.1 and 10.

Shapes: N documents of T tokens.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

import numpy as np
import torch

from trackyard.errors import ConfigError
from trackyard.evaluate.attacks.metric import aligned, counted_targets, delta_nats, mean_loss
from trackyard.evaluate.attacks.scoring import Scorer
from trackyard.evaluate.statistics import RESAMPLES, paired_difference

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

    def measures(self, *, rng: np.random.Generator, resamples: int = RESAMPLES) -> dict[str, Any]:
        """What is reported of it. ci95: of the mean Delta, over documents; detectable: the mean Delta that would show.

        DataError with fewer than two documents, which have no interval.
        """
        clean = statistics.fmean(record.clean for record in self.records)
        attacked = statistics.fmean(record.attacked for record in self.records)
        rise = {record.doc_id: record.delta for record in self.records}
        found = paired_difference(rise, dict.fromkeys(rise, 0.0), rng=rng, resamples=resamples)
        return {
            "n": len(self.records),
            "mean_delta_nats": self.mean_delta_nats,
            "ci95": [found.ci95.low, found.ci95.high],
            "detectable": found.detectable,
            "median": statistics.median(self.deltas),
            "success": {str(tau): statistics.fmean(self.success(tau)) for tau in SUCCESS_NATS},
            "delta_ppl": math.exp(attacked) - math.exp(clean),
            "relative_not_primary": self.mean_delta_nats / clean if clean else 0.0,
        }

    def body(self, *, rng: np.random.Generator, resamples: int = RESAMPLES) -> dict[str, Any]:
        """What the stage's file says of it, without configuration. DataError as `measures`."""
        return {
            "attack": self.attack,
            "pool_digest": self.pool_digest,
            **self.measures(rng=rng, resamples=resamples),
            "records": [
                asdict(record) | {"positions": list(record.positions), "ids": list(record.ids)}
                for record in self.records
            ],
            "trigger_ids": None if self.trigger_ids is None else list(self.trigger_ids),
        }

    @classmethod
    def of_body(cls, body: Mapping[str, Any]) -> Self:
        """What `body` was made of; KeyError or TypeError for what it did not make."""
        trigger = body["trigger_ids"]
        return cls(
            attack=body["attack"],
            pool_digest=body["pool_digest"],
            records=tuple(
                AttackRecord(**{**record, "positions": tuple(record["positions"]), "ids": tuple(record["ids"])})
                for record in body["records"]
            ),
            trigger_ids=None if trigger is None else tuple(trigger),
        )


def flipped(
    attack: Attack,
    scorer: Scorer,
    documents: Documents,
    attacked_NT: torch.Tensor,
    *,
    pool_digest: str,
    clean_NT: torch.Tensor | None = None,
) -> AttackResult:
    """The outcome of flips, scored in fp32. A flip to the token that was there is no flip.

    clean_NT: `Scorer.exact` of the documents where that is known already.
    """
    changed_NT = attacked_NT.cpu() != documents.ids_NT
    positions = [row.nonzero()[:, 0].tolist() for row in changed_NT]
    records = _records(scorer, documents, attacked_NT.cpu(), positions, clean_NT, inserted=0)
    return AttackResult(attack=attack, pool_digest=pool_digest, records=records)


def triggered(
    attack: Attack,
    scorer: Scorer,
    documents: Documents,
    trigger: Sequence[int],
    *,
    pool_digest: str,
    clean_NT: torch.Tensor | None = None,
) -> AttackResult:
    """The outcome of a prefix before every document, scored in fp32. clean_NT: as for `flipped`."""
    positions = [list(range(len(trigger)))] * len(documents.doc_ids)
    attacked_NT = with_prefix(trigger, documents.ids_NT)
    records = _records(scorer, documents, attacked_NT, positions, clean_NT, inserted=len(trigger))
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
    known_NT: torch.Tensor | None,
    *,
    inserted: int,
) -> tuple[AttackRecord, ...]:
    counted_NT = counted_targets(documents.ids_NT, attacked_NT, inserted=inserted).to(scorer.device)
    clean_NT = aligned(scorer.exact(documents.ids_NT) if known_NT is None else known_NT, inserted=inserted)
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
