"""Row 11 of the acceptance checks: a replay where an attack was crafted is that attack."""

from __future__ import annotations

import weakref
from dataclasses import replace

import pytest

from tests.evaluate.attacks.toys import BUDGET, POOL, documents, neox
from trackyard.errors import ConfigError
from trackyard.evaluate.attacks.hotflip import greedy
from trackyard.evaluate.attacks.outcome import Attack, AttackResult, Documents
from trackyard.evaluate.attacks.scoring import Scorer
from trackyard.evaluate.attacks.transfer import transfer
from trackyard.evaluate.attacks.uat import universal_trigger

NETS = {"baseline": neox(), "nonneg": neox(seed=1)}
ARMS = {arm: lambda net=net: Scorer(net) for arm, net in NETS.items()}


def crafted(arm: str) -> dict[Attack, AttackResult]:
    scorer, given = Scorer(NETS[arm]), documents(6)
    return {
        "hotflip_greedy": greedy(scorer, given, POOL, BUDGET),
        "uat": universal_trigger(scorer, given, given, POOL, BUDGET, seed=0),
    }


def test_the_diagonal_equals_the_direct_attack_and_the_square_is_full() -> None:
    made = {arm: crafted(arm) for arm in NETS}
    found = transfer(made, ARMS, documents(6))
    assert (len(found.diagonal), found.diagonal_max_abs_diff <= 1e-6) == (4, True)
    assert {source: list(row) for source, row in found.cells.items()} == {arm: list(NETS) for arm in NETS}
    for attack in ("hotflip_greedy", "uat"):
        there = found.cells["baseline"]["nonneg"][attack]
        assert there.deltas != made["baseline"][attack].deltas
        assert [record.ids for record in there.records] == [record.ids for record in made["baseline"][attack].records]
    # The check can fail: with the arms exchanged the diagonal is another model's.
    exchanged = {"baseline": ARMS["nonneg"], "nonneg": ARMS["baseline"]}
    assert min(transfer(made, exchanged, documents(6)).diagonal.values()) > 1e-3


def test_one_model_is_in_memory_at_a_time() -> None:
    alive: list[weakref.ref[Scorer]] = []

    def load() -> Scorer:
        assert not [one for one in alive if one() is not None]
        scorer = Scorer(neox())
        alive.append(weakref.ref(scorer))
        return scorer

    transfer({"a": crafted("baseline")}, {"a": load, "b": load, "c": load}, documents(6))
    assert len(alive) == 3


def test_a_square_without_a_diagonal_proves_nothing_and_is_refused() -> None:
    for made in ({}, {"elsewhere": crafted("baseline")}):
        with pytest.raises(ConfigError, match=r"attacks of (no arm|elsewhere) are to be replayed on baseline, nonneg"):
            transfer(made, ARMS, documents(6))


def test_records_find_their_documents_by_id() -> None:
    given, made = documents(6), {"baseline": crafted("baseline")}
    turned = Documents(doc_ids=given.doc_ids[::-1], ids_NT=given.ids_NT.flip(0))
    assert transfer(made, ARMS, turned).diagonal_max_abs_diff <= 1e-6
    flips = made["baseline"]["hotflip_greedy"]
    strange = replace(flips, records=(replace(flips.records[0], doc_id="elsewhere"),))
    with pytest.raises(ConfigError, match="1 documents that are not here, as 'elsewhere'"):
        transfer({"baseline": {"hotflip_greedy": strange}}, ARMS, given)
