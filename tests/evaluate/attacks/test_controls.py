"""Controls draw what their key says, and the query control is the sequential search it stands for."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.evaluate.attacks.test_hotflip import plain_delta
from tests.evaluate.attacks.toys import BUDGET, LENGTH, MODELS, POOL, documents, neox
from trackyard.errors import ConfigError
from trackyard.evaluate.attacks.budgets import generator
from trackyard.evaluate.attacks.controls import query, random_flips
from trackyard.evaluate.attacks.scoring import Scorer


def plain_query(net: object, doc_id: str, original_T: torch.Tensor, seed: int) -> torch.Tensor:
    """One candidate at a time, kept when the loss rises."""
    random = generator(seed, "query", doc_id=doc_id)
    positions = np.sort(random.choice(len(original_T), BUDGET.flips, replace=False))[::-1]
    tokens = random.choice(POOL.ids, (BUDGET.flips, BUDGET.query_candidates))
    ids_T, best = original_T.clone(), 0.0
    for place, candidates in zip(positions.tolist(), tokens.tolist(), strict=True):
        for token in candidates:
            row_T = ids_T.clone()
            row_T[place] = token
            found = plain_delta(net, original_T, row_T)
            if found > best:
                ids_T, best = row_T, found
    return ids_T


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("batch_tokens", [LENGTH, 4096])
def test_query_equals_one_candidate_at_a_time(name: str, batch_tokens: int) -> None:
    net, given = MODELS[name], documents(4)
    found = query(Scorer(net, batch_tokens=batch_tokens), given, POOL, BUDGET, seed=3)
    for doc_id, ids_T, record in zip(given.doc_ids, given.ids_NT, found.records, strict=True):
        wanted_T = plain_query(net, doc_id, ids_T, 3)
        places = (wanted_T != ids_T).nonzero()[:, 0].tolist()
        assert (record.positions, record.ids) == (tuple(places), tuple(wanted_T[places].tolist()))


def test_random_flips_are_the_same_for_every_arm_and_other_for_every_document() -> None:
    given = documents(4)
    one = random_flips(Scorer(MODELS["llama"]), given, POOL, BUDGET, seed=5)
    other = random_flips(Scorer(neox(seed=1)), given, POOL, BUDGET, seed=5)
    assert [(record.positions, record.ids) for record in one.records] == [
        (record.positions, record.ids) for record in other.records
    ]
    assert one.deltas != other.deltas
    assert len({record.positions for record in one.records}) > 1
    assert all(set(record.ids) <= set(POOL.ids.tolist()) for record in one.records)
    alone = random_flips(
        Scorer(MODELS["llama"]), given.first(1), POOL, BUDGET.model_copy(update={"flip_docs": 1}), seed=5
    )
    assert alone.records[0] == one.records[0]
    with pytest.raises(ConfigError, match="4 documents where the budget asks for 5"):
        random_flips(Scorer(MODELS["llama"]), given, POOL, BUDGET.model_copy(update={"flip_docs": 5}), seed=5)
