"""What is reported of an attack, and what it must not depend on."""

from __future__ import annotations

import json
import math
import statistics
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from tests.evaluate.attacks.toys import BUDGET, MODELS, POOL, documents
from trackyard.digest import canonical_json
from trackyard.errors import ConfigError
from trackyard.evaluate.attacks.hotflip import greedy
from trackyard.evaluate.attacks.outcome import (
    Attack,
    AttackRecord,
    AttackResult,
    Documents,
)
from trackyard.evaluate.attacks.scoring import Scorer
from trackyard.evaluate.comparison import AttackOutcome, compare


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def result(attack: Attack, deltas: dict[str, float]) -> AttackResult:
    records = tuple(
        AttackRecord(doc_id=doc_id, clean=2.0, attacked=2.0 + delta, delta=delta, positions=(1,), ids=(3,))
        for doc_id, delta in deltas.items()
    )
    return AttackResult(attack=attack, pool_digest="x", records=records)


def test_the_body_holds_the_declared_measures() -> None:
    body = result("hotflip_greedy", {"a": 0.05, "b": 0.25, "c": 1.2}).body(rng=rng())
    assert body["n"] == 3
    assert body["mean_delta_nats"] == pytest.approx(0.5)
    assert body["median"] == 0.25
    assert body["success"] == pytest.approx({"0.05": 1, "0.1": 2 / 3, "0.25": 2 / 3, "0.5": 1 / 3, "1.0": 1 / 3})
    assert body["delta_ppl"] == pytest.approx(math.exp(2.5) - math.exp(2))
    assert body["relative_not_primary"] == pytest.approx(0.25)
    assert body["ci95"][0] < 0.5 < body["ci95"][1]
    # Spread of the three, 0.6144, over the root of three, times 1.96 + 0.8416.
    assert body["detectable"] == pytest.approx(2.8016 * 0.614410 / math.sqrt(3), rel=1e-4)
    assert canonical_json(body)


@pytest.mark.parametrize("trigger", [None, (4, 5)])
def test_a_result_is_read_from_its_body_as_it_was(trigger: tuple[int, ...] | None) -> None:
    found = replace(result("uat", {"a": 0.05, "b": 0.25}), trigger_ids=trigger)
    assert AttackResult.of_body(json.loads(canonical_json(found.body(rng=rng())))) == found


class Worse(torch.nn.Module):
    """Another model with a constant more loss on every token: a share of each prediction goes to a row that is none."""

    def __init__(self, net: Any) -> None:
        super().__init__()
        self.net = net
        self.get_input_embeddings = net.get_input_embeddings
        self.eval()

    def forward(self, **given: Any) -> SimpleNamespace:
        found = self.net(**given)
        wasted = found.logits.logsumexp(dim=-1, keepdim=True) + 2.0
        return SimpleNamespace(logits=torch.cat([found.logits, wasted], -1), past_key_values=found.past_key_values)


@pytest.mark.parametrize("name", MODELS)
def test_a_model_that_is_worse_everywhere_looks_robust_in_the_relative_metric_alone(name: str) -> None:
    constant = math.log1p(math.exp(2.0))
    nets = {"baseline": MODELS[name], "worse": Worse(MODELS[name])}
    found = {arm: greedy(Scorer(net), documents(), POOL, BUDGET) for arm, net in nets.items()}
    assert [record.ids for record in found["worse"].records] == [record.ids for record in found["baseline"].records]
    here, there = (found[arm].measures(rng=rng()) for arm in nets)
    assert there["mean_delta_nats"] == pytest.approx(here["mean_delta_nats"], abs=1e-5)
    clean = statistics.fmean(record.clean for record in found["baseline"].records)
    shrunk = here["relative_not_primary"] * clean / (clean + constant)
    assert there["relative_not_primary"] == pytest.approx(shrunk, abs=1e-5)
    assert there["relative_not_primary"] < 0.8 * here["relative_not_primary"]
    outcomes = {arm: {"greedy": AttackOutcome.of(found[arm].body(rng=rng()))} for arm in nets}
    (compared,) = compare(outcomes, "baseline", tau=0.25, rng=lambda *_: rng())
    assert (abs(compared.diff) < 1e-5, compared.holm_p) == (True, 1.0)


def test_documents_of_unequal_length_are_refused() -> None:
    with pytest.raises(ConfigError, match="2 documents of 3, 4 tokens"):
        Documents.of({"a": [1, 2, 3], "b": [1, 2, 3, 4]})
    assert Documents.of({"a": [1, 2, 3], "b": [4, 5, 6]}).first(1).ids_NT.tolist() == [[1, 2, 3]]
