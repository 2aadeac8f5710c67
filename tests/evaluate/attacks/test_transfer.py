"""Row 11 of the acceptance checks: a replay where an attack was crafted is that attack."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.evaluate.attacks.toys import BUDGET, POOL, documents, neox
from trackyard.errors import ConfigError
from trackyard.evaluate.attacks.hotflip import greedy
from trackyard.evaluate.attacks.outcome import Documents
from trackyard.evaluate.attacks.scoring import Scorer
from trackyard.evaluate.attacks.transfer import transfer
from trackyard.evaluate.attacks.uat import universal_trigger


def test_the_diagonal_equals_the_direct_attack_and_the_square_is_full() -> None:
    nets, given = {"baseline": neox(), "nonneg": neox(seed=1)}, documents(6)
    arms = {arm: lambda net=net: Scorer(net) for arm, net in nets.items()}
    flips = {arm: greedy(Scorer(net), given, POOL, BUDGET) for arm, net in nets.items()}
    triggers = {arm: universal_trigger(Scorer(net), given, given, POOL, BUDGET, seed=0) for arm, net in nets.items()}
    for crafted in (flips, triggers):
        found = transfer(crafted, arms, given)
        assert found.diagonal_max_abs_diff <= 1e-6
        assert {source: list(row) for source, row in found.cells.items()} == {arm: list(arms) for arm in arms}
        assert found.cells["baseline"]["nonneg"].deltas != crafted["baseline"].deltas
        assert [record.ids for record in found.cells["baseline"]["nonneg"].records] == [
            record.ids for record in crafted["baseline"].records
        ]
        # The check can fail: with the arms exchanged the diagonal is another model's.
        exchanged = {"baseline": arms["nonneg"], "nonneg": arms["baseline"]}
        assert transfer(crafted, exchanged, given).diagonal_max_abs_diff > 1e-3


def test_records_find_their_documents_by_id() -> None:
    given, arms = documents(6), {"a": lambda: Scorer(neox())}
    crafted = {"a": greedy(Scorer(neox()), given, POOL, BUDGET)}
    turned = Documents(doc_ids=given.doc_ids[::-1], ids_NT=given.ids_NT.flip(0))
    assert transfer(crafted, arms, turned).diagonal_max_abs_diff <= 1e-6
    strange = {"a": replace(crafted["a"], records=(replace(crafted["a"].records[0], doc_id="elsewhere"),))}
    with pytest.raises(ConfigError, match="1 documents that are not here, as 'elsewhere'"):
        transfer(strange, arms, given)
